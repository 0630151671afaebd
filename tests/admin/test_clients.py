"""The admin's pages of what clients keep: preferences, and the metadata of projects."""

from __future__ import annotations

from access import ui_prefs
from access.models import AuditEntry, Secret, UiPrefs
from tests.admin.conftest import Admin
from workspaces.models import ProjectMeta

SECRET = "BSA-0123456789-very-secret"


def test_operators_change_the_metadata_of_projects(admin: Admin) -> None:
    page = "workspaces/projectmeta/"

    admin.post(f"/admin/{page}add/", {"project_id": "a", "display_name": " Garden ", "notes": "", "tags": '["home"]'})
    admin.post(f"/admin/{page}a/change/", {"display_name": "Garden", "tags": '["home"]', "archived": "on"})

    meta = ProjectMeta.objects.get()
    assert (meta.display_name, meta.tags, meta.archived) == ("Garden", ["home"], True)
    assert [entry.actor for entry in AuditEntry.objects.filter(action="project.updated")] == ["user:root"] * 2
    assert "Garden" in admin.page(page)


def test_operators_reset_a_scope(admin: Admin) -> None:
    ui_prefs.replace("mine", {"api_key": SECRET, "devMode": True}, by="test")

    assert "devMode" in (page := admin.page("access/uiprefs/mine/change/"))
    assert SECRET not in page
    admin.post("/admin/access/uiprefs/mine/delete/", {"post": "yes"})

    assert not UiPrefs.objects.exists()
    assert not Secret.objects.exists()
    assert AuditEntry.objects.filter(action="ui_prefs.replaced", actor="user:root").exists()
