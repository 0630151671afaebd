"""Checks of registered MCP servers: that what an operator switched on can be called. Asks none of them."""

from __future__ import annotations

from providers.mcp.models import McpServer, McpTool
from rauskuclaw.config import load
from rauskuclaw.operations.findings import Findings, ok, warn
from rauskuclaw.operations.text import count


def mcp_servers() -> Findings:
    """Servers that are on have been refreshed well, and no tool waits to be looked at again."""
    servers = list(McpServer.objects.filter(enabled=True))
    if not servers:
        return
    if not load().mcp_client_enabled:
        told = f"{count(len(servers), 'MCP server')} on, and MCP_CLIENT_ENABLED=0"
        yield warn("mcp", told, "Set MCP_CLIENT_ENABLED=1, or switch the servers off.")
        return
    failed = [it.name for it in servers if it.last_error_code]
    changed = [str(it) for it in McpTool.objects.exclude(changed_at=None).select_related("server")]
    if failed:
        told = f"The last refresh failed: {', '.join(failed)}"
        yield warn("mcp", told, "`last_error` says why: `manage.py mcp_servers list`; then refresh them.")
    if changed:
        told = f"No longer what was accepted, and switched off: {', '.join(changed[:10])}"
        yield warn("mcp.changed", told, "Look at them in the admin, and accept them anew or leave them off.")
    if not failed and not changed:
        yield ok("mcp", f"{count(len(servers), 'MCP server')} on")
