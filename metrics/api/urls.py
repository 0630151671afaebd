"""Routes of metrics, below `v1/`."""

from __future__ import annotations

from django.urls import path

from metrics.api import views

urlpatterns = [
    path("runtime/metrics", views.MetricsView.as_view(), name="runtime-metrics"),
]
