from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """Language models, and what they cost."""

    name = "providers"

    def ready(self) -> None:
        """What of theirs grows old."""
        from providers import history

        history.register()
