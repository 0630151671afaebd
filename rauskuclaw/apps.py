from django.apps import AppConfig

from rauskuclaw import connections, timestamps


class RauskuclawConfig(AppConfig):
    """The project itself: its commands, templates and static files."""

    name = "rauskuclaw"

    def ready(self) -> None:
        """Have web threads notice that Postgres was away, and timestamps read quickly."""
        connections.watch()
        timestamps.watch()
