from django.apps import AppConfig


class AccessConfig(AppConfig):
    """Who may do what, and who did it."""

    name = "access"
