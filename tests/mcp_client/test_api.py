"""`/v1/mcp-servers`, the admin's pages and `manage.py mcp_servers`: what an operator does with servers and tools."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from access import sealing
from access import secrets as access_secrets
from access.models import AuditEntry, Secret
from jobs.models import Job
from providers.mcp import secrets
from providers.mcp.models import McpServer, McpTool
from tests.admin.conftest import Admin
from tests.apiclient import GPU_ONLY, READER, Api
from tests.mcp_client.conftest import SERVER, TEXT, Behaviour, Configure, accept, call, ready, refresh, tool
from tests.operations.conftest import Manage

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/v1/mcp-servers"
SECRET = "Bearer sk-very-secret-0123456789"
DOCS = {
    "name": "docs", "transport": "http", "url": "https://docs.example.org/mcp", "headers": {"Authorization": SECRET},
}  # fmt: skip


def test_a_server_is_registered_changed_and_forgotten(api: Api) -> None:
    made = api.post(PATH, DOCS)

    assert (made.status, made.json["server"]["enabled"], made.json["server"]["approval"]) == (201, False, "always")
    assert made.json["server"]["headers"] == ["authorization"]
    assert api.post(PATH, DOCS).code == "CONFLICT"
    changed = api.patch(f"{PATH}/docs", {"enabled": True, "headers": {"x-team": "blue", "authorization": None}})
    assert (changed.json["server"]["enabled"], changed.json["server"]["headers"]) == (True, ["x-team"])
    assert [it["name"] for it in api.get(PATH).json["servers"]] == ["docs"]
    assert list(Secret.objects.values_list("name", flat=True)) == ["mcp/docs/headers/x-team"]
    assert api("DELETE", f"{PATH}/docs").json["deleted"] is True
    assert not Secret.objects.exists()
    assert api.get(f"{PATH}/docs").code == "NOT_FOUND"
    actions = ["mcp_server.created", "mcp_server.updated", "mcp_server.deleted"]
    assert [it.action for it in AuditEntry.objects.filter(object_type="mcp_server").order_by("id")] == actions


def test_a_secret_goes_in_and_never_out(api: Api) -> None:
    answers = [
        api.post(PATH, DOCS), api.get(PATH), api.patch(f"{PATH}/docs", {"approval": "never"}), api.get("/v1/audit")
    ]  # fmt: skip

    assert not any("sk-very-secret" in it.text for it in answers)
    assert "sk-very-secret" not in json.dumps([it.details for it in AuditEntry.objects.all()])
    row = McpServer.objects.get()
    assert secrets.opened("docs", "headers", row.headers) == {"authorization": SECRET}


def test_values_may_be_sealed_before_they_are_sent(api: Api) -> None:
    sealed = sealing.seal("opened-sesame", purpose="mcp/docs/headers/authorization")
    foreign = sealing.seal("opened-sesame", purpose="OPENAI_API_KEY")

    assert api.post(PATH, {**DOCS, "headers": {"Authorization": foreign}}).code == "VALIDATION_ERROR"
    api.post(PATH, {**DOCS, "headers": {"Authorization": sealed, "X-Shared": "secret:mcp/shared"}})
    access_secrets.put("mcp/shared", "of two servers", by="test")

    row = McpServer.objects.get()
    opened = secrets.opened("docs", "headers", row.headers)
    assert opened == {"authorization": "opened-sesame", "x-shared": "of two servers"}
    assert row.headers["authorization"] == "secret:mcp/docs/headers/authorization"
    api("DELETE", f"{PATH}/docs")
    assert list(Secret.objects.values_list("name", flat=True)) == ["mcp/shared"]


@pytest.mark.parametrize("key", [READER, GPU_ONLY])
def test_only_unrestricted_admins_see_and_change_servers(key: str, api: Api) -> None:
    assert api.get(PATH, key=key).code == "FORBIDDEN"
    assert api.post(PATH, DOCS, key=key).code == "FORBIDDEN"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": "No_Good"}, "name"), ({"name": "x" * 33}, "name"), ({"transport": "sse"}, "transport"),
        ({"url": "http://docs.example.org/mcp"}, "url"), ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "https://user:pass@example.org/"}, "url"), ({"url": "https://example.org/?api_key=x"}, "url"),
        ({"url": None}, "url"), ({"command": "sh"}, "command"),
        ({"headers": {"host": "x"}}, "headers.host"), ({"headers": {"a b": "x"}}, "headers.a b"),
        ({"headers": {"a": "x\r\nb: c"}}, "headers.a"), ({"headers": {"a": "secret:openai"}}, "headers.a"),
        ({"headers": {"a": "sec://openai"}}, "headers.a"), ({"env": {"LD_PRELOAD": "x"}}, "env.LD_PRELOAD"),
        ({"call_timeout_sec": 0}, "call_timeout_sec"), ({"approval": "sometimes"}, "approval"), ({"more": 1}, "more"),
    ],
    ids=lambda it: None if isinstance(it, str) else json.dumps(it)[:40],
)  # fmt: skip
def test_what_is_wrong_is_named(change: Any, path: str, api: Api) -> None:
    answer = api.post(PATH, {name: it for name, it in {**DOCS, **change}.items() if it is not None})

    assert answer.code == "VALIDATION_ERROR"
    assert [fault["path"] for fault in answer.json["error"]["details"]["errors"]] == [path]
    assert not McpServer.objects.exists()


def test_a_refresh_is_a_job(api: Api, switched_on: None, configure: Configure) -> None:
    api.post(PATH, {**DOCS, "enabled": True})

    asked = api.post(f"{PATH}/docs/refresh")

    job = Job.objects.get()
    assert (asked.status, asked.json["job_id"]) == (202, str(job.pk))
    assert (job.type, job.input) == ("system.mcp.refresh", {"server": "docs"})
    api.patch(f"{PATH}/docs", {"enabled": False})
    assert api.post(f"{PATH}/docs/refresh").code == "CONFLICT"
    configure(MCP_CLIENT_ENABLED=0)
    assert api.post(f"{PATH}/docs/refresh").code == "CONFLICT"
    assert api.post(f"{PATH}/nobody/refresh").code == "NOT_FOUND"


def test_a_tool_is_accepted_by_its_hash(api: Api, over_stdio: McpServer, behaviour: Behaviour) -> None:
    refresh()
    [shown] = api.get(f"{PATH}/test/tools").json["tools"]
    path = f"{PATH}/test/tools/echo"

    too_early = api.patch(path, {"enabled": True})
    wrong = api.patch(path, {"enabled": True, "accept": "0" * 64})
    accepted = api.patch(path, {"enabled": True, "accept": shown["definition_hash"], "approval": "never"})

    assert (too_early.status, too_early.code, wrong.code) == (409, "MCP_TOOL_CHANGED", "MCP_TOOL_CHANGED")
    assert (shown["function"], shown["is_accepted"], shown["effective_approval"]) == (
        "mcp__test__echo",
        False,
        "always",
    )
    told = accepted.json["tool"]
    assert (told["enabled"], told["is_accepted"], told["effective_approval"]) == (True, True, "never")
    assert call("echo", {"text": "a"}).text == "a"
    assert api.patch(f"{PATH}/test/tools/nothing", {"enabled": False}).code == "NOT_FOUND"
    entry = AuditEntry.objects.get(action="mcp_tool.updated")
    assert (entry.actor, entry.details["accepted"]) == ("key:ci", shown["definition_hash"])


def test_operators_register_servers_in_the_admin(admin: Admin) -> None:
    form = {
        "name": "docs", "transport": "http", "url": "https://docs.example.org/mcp", "approval": "always",
        "set_headers": f"Authorization: {SECRET}\nX-Team: blue", "connect_timeout_sec": 10, "call_timeout_sec": 60,
    }  # fmt: skip

    refused = admin.post("/admin/providers/mcpserver/add/", {**form, "url": "https://127.0.0.1/"})
    assert "loopback address" in refused.content.decode()
    assert not McpServer.objects.exists()
    admin.post("/admin/providers/mcpserver/add/", form)

    server = McpServer.objects.get()
    page = admin.page(f"providers/mcpserver/{server.pk}/change/")
    assert "authorization, x-team" in page
    assert "sk-very-secret" not in page
    admin.post(f"/admin/providers/mcpserver/{server.pk}/change/", {**form, "set_headers": "x-team:", "enabled": "on"})
    server.refresh_from_db()
    assert (server.enabled, list(server.headers)) == (True, ["authorization"])
    assert AuditEntry.objects.filter(actor="user:root", object_id="docs").count() == 2
    assert "docs" in admin.page("providers/mcpserver/")
    admin.act("providers/mcpserver/", "delete_selected", server.pk)
    admin.post(f"/admin/providers/mcpserver/{server.pk}/delete/", {"post": "yes"})
    assert not McpServer.objects.exists()
    assert not Secret.objects.exists()


def test_operators_refresh_and_accept_in_the_admin(admin: Admin, over_stdio: McpServer, behaviour: Behaviour) -> None:
    assert "Asked for" in admin.act("providers/mcpserver/", "refresh", over_stdio.pk)
    assert Job.objects.get().type == "system.mcp.refresh"
    refresh()
    row = McpTool.objects.get()
    page = f"/admin/providers/mcptool/{row.pk}/change/"
    form = {"shown_hash": row.definition_hash, "enabled": "on", "approval": "untrusted"}

    assert "Says it again." in admin.page(f"providers/mcptool/{row.pk}/change/")
    assert "is not accepted" in admin.post(page, form).content.decode()
    behaviour.says(tool("echo", TEXT, description="Something else."))
    refresh()
    assert "is defined otherwise by now" in admin.post(page, {**form, "accept": "on"}).content.decode()
    row.refresh_from_db()
    admin.post(page, {**form, "shown_hash": row.definition_hash, "accept": "on"})

    row.refresh_from_db()
    assert (row.enabled, row.is_accepted, row.approval) == (True, True, "untrusted")
    assert "mcp__test__echo" in admin.page("providers/mcptool/")
    admin.act("providers/mcptool/", "disable", row.pk)
    row.refresh_from_db()
    assert row.enabled is False


def test_operators_use_the_terminal(
    manage: Manage, switched_on: None, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = manage("mcp_servers", "add", "test", "--", sys.executable, str(SERVER), "stdio", str(behaviour.file))
    assert "switched off" in add.out
    assert manage("mcp_servers", "refresh", "test", "--json").json["error"]["code"] == "MCP_DISABLED"
    manage("mcp_servers", "enable", "test")
    assert "new: echo" in manage("mcp_servers", "refresh", "test").out
    listed = manage("mcp_servers", "tools", "test").out
    row = McpTool.objects.get()
    assert row.definition_hash[:12] in listed
    assert manage("mcp_servers", "accept", "test", "echo", "000000000000").code == 1
    accepted = manage("mcp_servers", "accept", "test", "echo", row.definition_hash[:12], "--json").json["tool"]
    assert accepted["enabled"] is True
    assert call("echo", {"text": "a"}).text == "a"
    assert manage("mcp_servers", "block", "test", "echo", "--json").json["tool"]["enabled"] is False
    assert "test" in manage("mcp_servers", "list").out
    assert manage("mcp_servers", "delete", "test", "--json").json["deleted"] is True


def test_changes_are_shown(api: Api, over_stdio: McpServer, behaviour: Behaviour) -> None:
    ready(behaviour, tool("echo", TEXT, description="Says it again."))
    behaviour.says(tool("echo", TEXT, description="Something else."))
    refresh()

    [shown] = api.get(f"{PATH}/test/tools").json["tools"]

    assert (shown["enabled"], shown["is_accepted"], shown["description"]) == (False, False, "Something else.")
    assert shown["accepted"]["description"] == "Says it again."
    assert shown["changed_at"] is not None
    accept("echo")
