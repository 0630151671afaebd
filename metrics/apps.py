from django.apps import AppConfig


class MetricsConfig(AppConfig):
    """What happened and what is going on: counters, runtime views, alerts, Prometheus, traces."""

    name = "metrics"

    def ready(self) -> None:
        """Hear of what no row tells; say what of theirs grows old."""
        from jobs import signals
        from metrics import counting, retention

        signals.happened.connect(counting.on_happened, dispatch_uid="metrics")
        retention.register()
