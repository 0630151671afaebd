from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs: the heart."""

    name = "jobs"
