"""Routes of chats, below `v1/`."""

from __future__ import annotations

from django.urls import path

from chat.api import views

urlpatterns = [
    path("chat/threads", views.ThreadsView.as_view(), name="chat-threads"),
    path("chat/threads/<str:thread_id>", views.ThreadView.as_view(), name="chat-thread"),
    path("chat/threads/<str:thread_id>/messages", views.MessagesView.as_view(), name="chat-messages"),
    path("chat/threads/<str:thread_id>/export", views.ThreadExportView.as_view(), name="chat-export"),
    path("chat/messages/<str:message_id>", views.MessageView.as_view(), name="chat-message"),
    path("chat/messages/<str:message_id>/edit", views.MessageEditView.as_view(), name="chat-edit"),
    path("chat/messages/<str:message_id>/regenerate", views.MessageRegenerateView.as_view(), name="chat-regenerate"),
    path("chat/messages/<str:message_id>/stop", views.MessageStopView.as_view(), name="chat-stop"),
    path("chat/messages/<str:message_id>/suggestions", views.SuggestionsView.as_view(), name="chat-suggestions"),
]
