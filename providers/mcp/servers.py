"""What an operator decides: registering servers, accepting and enabling tools. Each change is in the audit log."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from access import audit
from jobs import bodies
from providers.mcp import secrets
from providers.mcp.models import McpServer, McpTool
from providers.mcp.requests import NewServer, ServerChange, ToolChange
from rauskuclaw import errors
from rauskuclaw.errors import Problem

_SEALED = ("headers", "env")


def find(name: str) -> McpServer:
    """A server. Raises NOT_FOUND."""
    server = McpServer.objects.filter(name=name).first()
    if server is None:
        raise Problem(errors.NOT_FOUND, f"There is no MCP server {name[:80]!r}: GET /v1/mcp-servers lists them.")
    return server


def create(new: NewServer, *, by: str) -> McpServer:
    """Register a server; nothing is asked of it yet. Raises CONFLICT, VALIDATION_ERROR."""
    new.check_secrets()
    given = new.given()
    server = McpServer(created_by=by, updated_by=by, **{name: it for name, it in given.items() if name not in _SEALED})
    with transaction.atomic():
        try:
            with transaction.atomic():
                _seal(server, given, by=by)
                check(server)
                server.save(force_insert=True)
        except IntegrityError:
            raise Problem(errors.CONFLICT, f"The MCP server {new.name!r} exists: PATCH it.") from None
        _record("mcp_server.created", server, by, given)
    server.refresh_from_db()
    return server


def change(name: str, wanted: ServerChange, *, by: str) -> McpServer:
    """Change a server. Raises NOT_FOUND, VALIDATION_ERROR."""
    wanted.check_secrets()
    given = wanted.given()
    if not given:
        raise bodies.invalid("", "Nothing to change: send at least one field.")
    with transaction.atomic():
        server = McpServer.objects.select_for_update().filter(name=name).first() or find(name)
        for field, value in given.items():
            if field not in _SEALED:
                setattr(server, field, value)
        _seal(server, given, by=by)
        check(server)
        server.updated_at, server.updated_by = timezone.now(), by
        server.save()
        _record("mcp_server.updated", server, by, given)
    return server


def delete(name: str, *, by: str) -> None:
    """Forget a server, its tools and its secrets. Raises NOT_FOUND."""
    with transaction.atomic():
        server = find(name)
        server.delete()
        secrets.forget_all(name, by=by)
        _record("mcp_server.deleted", server, by, {})


def change_tool(server: str, name: str, wanted: ToolChange, *, by: str) -> McpTool:
    """Accept a tool's definition, switch the tool, set its policy.

    Raises NOT_FOUND; MCP_TOOL_CHANGED when its definition is not the one to be accepted, or was never accepted.
    """
    with transaction.atomic():
        found = McpTool.objects.select_for_update(of=("self",)).select_related("server")
        tool = found.filter(server__name=server, name=name).first()
        if tool is None:
            raise Problem(errors.NOT_FOUND, f"{server} has no tool {name[:130]!r}: refresh it, or see its list.")
        check_tool(tool, wanted)
        if wanted.accept is not None:
            _accept(tool, by=by)
        tool.enabled = tool.enabled if wanted.enabled is None else wanted.enabled
        tool.approval = tool.approval if wanted.approval is None else wanted.approval
        tool.save()
        facts = {"accepted": wanted.accept, "enabled": tool.enabled, "approval": tool.effective_approval}
        audit.record(
            actor=by, action="mcp_tool.updated", object_type="mcp_tool", object_id=tool.function, details=facts
        )
    return tool


def check_tool(tool: McpTool, wanted: ToolChange) -> None:
    """Raises MCP_TOOL_CHANGED where the definition is not the one to be accepted, or has to be accepted first."""
    if wanted.accept is not None and wanted.accept != tool.definition_hash:
        told = f"{tool} is defined otherwise by now: look at it again, then accept its present definition_hash."
    elif wanted.enabled and wanted.accept is None and not tool.is_accepted:
        told = f"The definition of {tool} is not accepted: look at it, then send its definition_hash as `accept`."
    else:
        return
    raise Problem(errors.MCP_TOOL_CHANGED, told, {"definition_hash": tool.definition_hash})


def _accept(tool: McpTool, *, by: str) -> None:
    if not tool.is_accepted:
        tool.accepted_hash, tool.accepted_at, tool.accepted_by = tool.definition_hash, timezone.now(), by
        tool.accepted = {"description": tool.description, "input_schema": tool.input_schema, "hints": tool.hints}
        tool.changed_at = None


def check(server: McpServer) -> None:
    """Raises VALIDATION_ERROR unless it has what its transport needs, and nothing of the other's."""
    own, others = {
        "http": (("url",), ("command", "args", "env")), "stdio": (("command",), ("url", "headers")),
    }[server.transport]  # fmt: skip
    missing = [(name, f"{name} is required for {server.transport}") for name in own if not getattr(server, name)]
    foreign = [(name, f"{name} is not for {server.transport}") for name in others if getattr(server, name)]
    if missing or foreign:
        raise bodies.refused(missing + foreign)


def _seal(server: McpServer, given: dict[str, Any], *, by: str) -> None:
    server.headers = secrets.kept(server.name, "headers", server.headers, given.get("headers", {}), by=by)
    server.env = secrets.kept(server.name, "env", server.env, given.get("env", {}), by=by)


def _record(action: str, server: McpServer, by: str, given: dict[str, Any]) -> None:
    """Of headers and variables their names alone; of arguments, which may hold a secret, how many."""
    told = {
        name: sorted(value) if name in _SEALED else len(value) if name == "args" else value
        for name, value in given.items()
    }
    audit.record(actor=by, action=action, object_type="mcp_server", object_id=server.name, details=told)
