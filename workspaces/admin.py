"""The admin's page for the metadata of projects."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from access.admin import actor_of
from jobs import bodies
from workspaces import projects
from workspaces.models import ProjectMeta


@admin.register(ProjectMeta)
class ProjectMetaAdmin(ModelAdmin):  # type: ignore[misc]
    """What people noted of projects."""

    list_display = ["project_id", "display_name", "archived", "updated_at"]
    list_filter = ["archived"]
    search_fields = ["project_id", "display_name", "notes"]
    readonly_fields = ["updated_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: ProjectMeta | None = None) -> list[str]:
        """An id is for good."""
        return ["project_id", "updated_at"] if obj else ["updated_at"]

    def save_model(self, request: HttpRequest, obj: ProjectMeta, form: Any, change: bool) -> None:
        """Through the verb that records it."""
        given = {name: getattr(obj, name) for name in form.changed_data if name != "project_id"}
        change_made = bodies.parse(projects.MetaChange, given)
        saved = projects.update(obj.project_id, change_made, by=actor_of(request))
        obj.__dict__.update(saved.__dict__)

    def has_delete_permission(self, request: HttpRequest, obj: ProjectMeta | None = None) -> bool:
        """Projects are archived; what is known of them is not worth a deletion of its own."""
        return False
