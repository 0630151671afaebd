"""The WebSocket addresses. As over HTTP, a final slash does not matter."""

from django.urls import re_path

from workspaces.consumers import DirectoryConsumer

websocket_urlpatterns = [re_path(r"^ws/workspace/?$", DirectoryConsumer.as_asgi())]
