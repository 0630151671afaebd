"""Routes of usage, prices, budgets, agent tools and MCP servers, below `v1/`."""

from __future__ import annotations

from django.urls import path

from providers.api import context, tools, views
from providers.mcp.api import urlpatterns as mcp_urlpatterns

urlpatterns = [
    path("usage", views.UsageView.as_view(), name="usage"),
    path("prices", views.PricesView.as_view(), name="prices"),
    path("budgets", views.BudgetsView.as_view(), name="budgets"),
    path("runtime/repo-context/prewarm", context.RepoContextPrewarmView.as_view(), name="repo-context-prewarm"),
    path("agent-tools", tools.AgentToolsView.as_view(), name="agent-tools"),
    path("agent-tools/invoke-batch", tools.InvokeBatchView.as_view(), name="agent-tools-invoke-batch"),
    *mcp_urlpatterns,
    path("budgets/<uuid:budget_id>", views.BudgetView.as_view(), name="budget"),
]
