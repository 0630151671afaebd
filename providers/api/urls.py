"""Routes of usage, prices and budgets, below `v1/`."""

from __future__ import annotations

from django.urls import path

from providers.api import views

urlpatterns = [
    path("usage", views.UsageView.as_view(), name="usage"),
    path("prices", views.PricesView.as_view(), name="prices"),
    path("budgets", views.BudgetsView.as_view(), name="budgets"),
    path("budgets/<uuid:budget_id>", views.BudgetView.as_view(), name="budget"),
]
