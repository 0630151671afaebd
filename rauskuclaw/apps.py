from django.apps import AppConfig

from rauskuclaw import connections


class RauskuclawConfig(AppConfig):
    """The project itself: its commands, templates and static files."""

    name = "rauskuclaw"

    def ready(self) -> None:
        """Have web threads notice that Postgres was away."""
        connections.watch()
