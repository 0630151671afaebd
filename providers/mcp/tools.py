"""The tools of MCP servers as tools of agents. Loads no library: the rows hold all that a model is told."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet

from jobs.models import JobType
from providers.mcp.models import McpTool
from rauskuclaw.config import load

JOB_TYPE, HANDLER = "mcp.call", "builtin:mcp.call"
MAX_OFFERED = 100
"""Models take 128 functions, and choose badly from many fewer."""


def usable() -> QuerySet[McpTool]:
    """The tools that models may have now: switched on, as accepted, of a server that is switched on."""
    found = McpTool.objects.select_related("server").order_by("function")
    if (
        not load().mcp_client_enabled
        or not JobType.objects.filter(name=JOB_TYPE, handler=HANDLER, enabled=True).exists()
    ):
        return found.none()
    return found.filter(enabled=True, server__enabled=True, accepted_hash=F("definition_hash"))


def description_of(tool: McpTool) -> str:
    """What a model is told of it, and by whom."""
    said = tool.description or tool.title or tool.name
    return f"Tool of the MCP server {tool.server.name}, in whose words: {said}"


def input_of(tool: McpTool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The input of the job that calls it."""
    return {"server": tool.server.name, "tool": tool.name, "arguments": arguments}
