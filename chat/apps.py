from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Chats: threads of messages whose answers are jobs."""

    name = "chat"
