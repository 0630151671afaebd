from django.apps import AppConfig


class SchedulesConfig(AppConfig):
    """Schedules: jobs that recur."""

    name = "schedules"
