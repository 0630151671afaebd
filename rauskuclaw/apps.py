from django.apps import AppConfig


class RauskuclawConfig(AppConfig):
    """The project itself: its commands, templates and static files."""

    name = "rauskuclaw"
