from django.apps import AppConfig


class SchedulesConfig(AppConfig):
    """Schedules: jobs that recur."""

    name = "schedules"

    def ready(self) -> None:
        """What of theirs grows old, and which jobs they need."""
        from schedules import history

        history.register()
