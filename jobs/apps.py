from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs: the heart."""

    name = "jobs"

    def ready(self) -> None:
        """What of theirs grows old."""
        from jobs.retention import own

        own.register()
