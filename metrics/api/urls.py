"""Routes of metrics, below `v1/`."""

from __future__ import annotations

from django.urls import path

from metrics.api import alerts, views

urlpatterns = [
    path("runtime/metrics", views.MetricsView.as_view(), name="runtime-metrics"),
    path("runtime/workers", views.WorkersView.as_view(), name="runtime-workers"),
    path("runtime/queues", views.RuntimeQueuesView.as_view(), name="runtime-queues"),
    path("runtime/handlers", views.HandlersView.as_view(), name="runtime-handlers"),
    path("runtime/providers", views.ProvidersView.as_view(), name="runtime-providers"),
    path("alerts", alerts.AlertsView.as_view(), name="alerts"),
    path("alerts/<int:alert_id>", alerts.AlertView.as_view(), name="alert"),
    path("alerts/<int:alert_id>/acknowledge", alerts.AcknowledgeView.as_view(), name="alert-acknowledge"),
    path("alert-rules", alerts.RulesView.as_view(), name="alert-rules"),
    path("alert-rules/<str:code>", alerts.RuleView.as_view(), name="alert-rule"),
]
