"""What a refresh takes over, what it does not, and what happens when a server changes its mind."""

from __future__ import annotations

from typing import Any

import pytest

from access.models import AuditEntry
from jobs.handlers.base import AttemptFailed
from providers.mcp import servers
from providers.mcp.models import McpServer
from providers.mcp.naming import function_name
from providers.mcp.requests import ToolChange
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.checks.mcp import mcp_servers
from rauskuclaw.operations.findings import Level
from tests.mcp_client.conftest import TEXT, Behaviour, Configure, accept, ready, refresh, tool

pytestmark = pytest.mark.django_db(transaction=True)


def names(server: McpServer, **chosen: Any) -> list[str]:
    return sorted(server.tools.filter(**chosen).values_list("name", flat=True))


def test_new_tools_wait_to_be_accepted(server: McpServer, behaviour: Behaviour) -> None:
    behaviour.says(
        tool("echo", TEXT, description="Says\u200b it\U000e0041 again.\0", annotations={"readOnlyHint": True}),
        tool("fail"), pages=2,
    )  # fmt: skip

    found = refresh()

    assert (found.added, found.changed, found.removed, found.rejected) == (["echo", "fail"], [], [], [])
    echo = server.tools.get(name="echo")
    assert (echo.description, echo.input_schema, echo.hints) == ("Says it again.", TEXT, {"readOnlyHint": True})
    assert (echo.enabled, echo.is_accepted, echo.effective_approval) == (False, False, "always")
    server.refresh_from_db()
    assert (server.reported_name, server.reported_version) == ("test-server", "1.2")
    assert server.refreshed_at is not None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (tool("a b"), "its name"),
        (tool(".."), "its name"),
        (tool("x", {"type": "object", "properties": {"a": {"type": "no such type"}}}), "no valid JSON Schema"),
        (tool("x", {"type": "object", "properties": {"a": {"$ref": "https://evil.test/a"}}}), "another document"),
        (tool("x", {"type": "object", "patternProperties": {"(a+)+$": {}}}), "patternProperties"),
        (tool("x", {"type": "object", "description": "x" * 40_000}), "32,768 are taken"),
        (tool("x", {"type": "object", "$schema": "https://example.org/mine"}), "dialect"),
    ],
    ids=["name", "dots", "invalid", "remote", "pattern", "large", "dialect"],
)
def test_a_bad_definition_is_left_out_and_the_others_are_taken(
    bad: Any, reason: str, over_stdio: McpServer, behaviour: Behaviour
) -> None:
    behaviour.says(bad, tool("echo", TEXT), tool("echo", TEXT))

    found = refresh()

    assert names(over_stdio) == ["echo"]
    assert [it["name"] for it in found.rejected] == [bad["name"], "echo"]
    assert reason in found.rejected[0]["reason"]
    over_stdio.refresh_from_db()
    assert over_stdio.rejected == found.rejected


def test_the_doctor_says_what_is_to_be_looked_at(
    over_stdio: McpServer, behaviour: Behaviour, configure: Configure
) -> None:
    ready(behaviour, tool("echo"))
    assert [(it.level, it.message) for it in mcp_servers()] == [(Level.OK, "1 MCP server on")]
    behaviour.says(tool("echo", TEXT))
    refresh()
    assert [(it.check, it.level) for it in mcp_servers()] == [("mcp.changed", Level.WARN)]
    configure(MCP_STDIO_ALLOWLIST="")
    with pytest.raises(AttemptFailed):
        refresh()
    assert [it.check for it in mcp_servers()] == ["mcp", "mcp.changed"]
    configure(MCP_CLIENT_ENABLED=0)
    assert [it.message for it in mcp_servers()] == ["1 MCP server on, and MCP_CLIENT_ENABLED=0"]


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return {"type": "object", **schema}


def test_a_deep_schema_is_left_out(over_stdio: McpServer, behaviour: Behaviour) -> None:
    behaviour.says(tool("deep", nested(40)), tool("less", nested(10)))

    refresh()

    assert names(over_stdio) == ["less"]


def test_a_message_that_nobody_can_read_ends_the_session(over_stdio: McpServer, behaviour: Behaviour) -> None:
    behaviour.says(tool("echo"), first='{"jsonrpc": "2.0", "id":\n')

    with pytest.raises(AttemptFailed) as caught:
        refresh()

    assert caught.value.code is errors.MCP_PROTOCOL


@pytest.mark.parametrize(
    "told",
    [{"tools": [tool(f"t{n}") for n in range(300)]}, {"tools": [tool("a")], "endless": True}],
    ids=["many", "endless"],
)
def test_a_list_without_bounds_is_refused_as_a_whole(told: Any, over_http: McpServer, behaviour: Behaviour) -> None:
    behaviour.says(*told.pop("tools"), **told)

    with pytest.raises(AttemptFailed) as caught:
        refresh()

    assert caught.value.code is errors.MCP_TOO_LARGE
    over_http.refresh_from_db()
    assert (names(over_http), over_http.last_error_code) == ([], "MCP_TOO_LARGE")


def test_a_changed_tool_is_switched_off_shown_and_recorded(over_stdio: McpServer, behaviour: Behaviour) -> None:
    ready(behaviour, tool("echo", TEXT), tool("fail"), tool("gone"))
    seen = over_stdio.tools.get(name="echo").definition_hash
    behaviour.says(tool("echo", TEXT, description="And reads your mail."), tool("fail"))

    found = refresh()

    assert (found.changed, found.removed) == (["echo"], ["gone"])
    assert names(over_stdio, enabled=True) == ["fail"]
    entry = AuditEntry.objects.get(action="mcp_tool.changed")
    assert (entry.object_id, entry.details["before"]) == ("mcp__test__echo", seen)
    assert refresh().changed == [], "once"
    with pytest.raises(Problem) as refused:
        accept_hash(over_stdio, seen)
    assert refused.value.code is errors.MCP_TOOL_CHANGED
    accept("echo")
    assert names(over_stdio, enabled=True) == ["echo", "fail"]


def accept_hash(server: McpServer, definition_hash: str) -> None:
    wanted = ToolChange(accept=definition_hash, enabled=True)
    servers.change_tool(server.name, "echo", wanted, by="test")


def test_a_tool_that_becomes_again_what_was_accepted_stays_off(over_stdio: McpServer, behaviour: Behaviour) -> None:
    ready(behaviour, tool("echo", TEXT))
    behaviour.says(tool("echo"))
    refresh()
    behaviour.says(tool("echo", TEXT))

    refresh()

    row = over_stdio.tools.get()
    assert (row.is_accepted, row.enabled, row.changed_at) == (True, False, None)


@pytest.mark.parametrize(
    ("server", "tool_name", "function"),
    [
        ("docs", "search", "mcp__docs__search"),
        ("a-b", "x_y-z", "mcp__a-b__x_y-z"),
        ("docs", "files.read", "mcp__docs__files_read_"),
        ("s" * 32, "t" * 128, f"mcp__{'s' * 32}__ttt"),
    ],
    ids=["plain", "marks", "dot", "long"],
)
def test_functions_have_names_that_models_take(server: str, tool_name: str, function: str) -> None:
    found = function_name(server, tool_name)

    assert len(found) <= 64
    assert found.replace("_", "").replace("-", "").isalnum()
    assert found.startswith(function)


def test_names_that_look_alike_are_told_apart() -> None:
    pairs = [("docs", name) for name in ("a.b", "a_b", "a-b", "t" * 100, "t" * 101)] + [("docs2", "a.b")]

    assert len({function_name(*pair) for pair in pairs}) == len(pairs)
