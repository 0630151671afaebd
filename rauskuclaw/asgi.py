"""The web server's one application: WebSocket to Channels, event streams to Django's ASGI handler, the rest to WSGI."""

# ruff: noqa: E402 - the settings must be named, and the apps loaded, before anything that uses them is imported
import os
import re
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

django_asgi = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter

from jobs.routing import websocket_urlpatterns
from rauskuclaw.api.bridge import WSGIBridge
from rauskuclaw.config import load

THREADS = 16

_STREAM = re.compile(r"/v1/jobs/[^/]+/stream/?", re.IGNORECASE)

_wsgi = WSGIBridge(get_wsgi_application(), threads=THREADS, limit_bytes=load().max_body_bytes)


async def http(scope: Any, receive: Any, send: Any) -> None:
    """Route one HTTP request. Only reading a stream is worth the slower handler: it may stay open for hours."""
    streams = scope["method"] in {"GET", "HEAD"} and _STREAM.fullmatch(scope["path"])
    await (django_asgi if streams else _wsgi)(scope, receive, send)


application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(websocket_urlpatterns)})
