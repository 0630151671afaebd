"""Routes of memory, below `v1/`."""

from __future__ import annotations

from django.urls import path

from memory.api import views, working

urlpatterns = [
    path("memory", views.MemoriesView.as_view(), name="memories"),
    path("memory/scopes", views.ScopesView.as_view(), name="memory-scopes"),
    path("memory/reset", views.ResetView.as_view(), name="memory-reset"),
    path("memory/search", views.SearchView.as_view(), name="memory-search"),
    path("memory/<str:memory_id>", views.MemoryView.as_view(), name="memory"),
    path("working-memory", working.WorkingMemoryView.as_view(), name="working-memory"),
    path("working-memory/latest", working.LatestView.as_view(), name="working-memory-latest"),
]
