from django.apps import AppConfig


class AccessConfig(AppConfig):
    """Who may do what, and who did it."""

    name = "access"

    def ready(self) -> None:
        """Teach the OpenAPI generator the credentials."""
        from access.api import schema  # noqa: F401 - registers itself on import
