"""Servers and tools as the API shows them: of headers and variables their names, never a value."""

from __future__ import annotations

from typing import Any

from providers.mcp.models import McpServer, McpTool
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none


def server_json(server: McpServer) -> dict[str, Any]:
    """A server, how it is reached, and how its last refresh went."""
    error = None
    if server.last_error_code:
        at = iso_ms_or_none(server.last_error_at)
        error = {"code": server.last_error_code, "message": server.last_error, "at": at}
    return {
        "name": server.name,
        "transport": server.transport,
        "url": server.url or None,
        "headers": sorted(server.headers),
        "command": server.command or None,
        "args": server.args,
        "env": sorted(server.env),
        "enabled": server.enabled,
        "approval": server.approval,
        "connect_timeout_sec": server.connect_timeout_sec,
        "call_timeout_sec": server.call_timeout_sec,
        "reported": {"name": server.reported_name, "version": server.reported_version},
        "refreshed_at": iso_ms_or_none(server.refreshed_at),
        "rejected": server.rejected,
        "last_error": error,
        "created_at": iso_ms(server.created_at),
        "created_by": server.created_by,
        "updated_at": iso_ms(server.updated_at),
        "updated_by": server.updated_by,
    }


def tool_json(tool: McpTool) -> dict[str, Any]:
    """A tool as it is defined now; where it is not what was accepted, that too."""
    return {
        "name": tool.name,
        "function": tool.function,
        "title": tool.title,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "hints": tool.hints,
        "definition_hash": tool.definition_hash,
        "accepted_hash": tool.accepted_hash or None,
        "is_accepted": tool.is_accepted,
        "accepted": None if tool.is_accepted else tool.accepted,
        "accepted_at": iso_ms_or_none(tool.accepted_at),
        "accepted_by": tool.accepted_by or None,
        "changed_at": iso_ms_or_none(tool.changed_at),
        "enabled": tool.enabled,
        "approval": tool.approval or None,
        "effective_approval": tool.effective_approval,
    }
