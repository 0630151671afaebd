"""The tools of MCP servers as tools of agents. The rows hold all that a model is told: nobody is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import F, QuerySet

from providers.mcp.models import McpTool
from providers.mcp.naming import PREFIX
from rauskuclaw.config import load

JOB_TYPE = "mcp.call"
MAX_OFFERED = 100
"""Models take 128 functions, and choose badly from many fewer."""


def offered() -> list[McpTool]:
    """The tools that models may have now: switched on, as accepted, of a server that is switched on. The job type has
    to be enabled too. Reads the database."""
    return list(_usable()[:MAX_OFFERED]) if load().mcp_client_enabled else []


def find(function: str) -> McpTool | None:
    """The tool that models call so, whether or not they may now. Reads the database."""
    return McpTool.objects.select_related("server").filter(function=function).first()


def known(functions: Iterable[str]) -> list[str]:
    """Those of the names that are of MCP tools which models may have now. Reads the database."""
    wanted = [name for name in functions if name.startswith(PREFIX)]
    if not wanted or not load().mcp_client_enabled:
        return []
    return list(_usable().filter(function__in=wanted).values_list("function", flat=True))


def refusal_of(tool: McpTool) -> str:
    """Why models may not call it now; "" if they may."""
    if not load().mcp_client_enabled:
        return "MCP servers are not asked: MCP_CLIENT_ENABLED is off"
    if not tool.server.enabled:
        return f"the MCP server {tool.server.name} is switched off"
    return "" if tool.enabled and tool.is_accepted else f"{tool} is switched off"


def argument_fault(tool: McpTool, arguments: dict[str, Any]) -> str:
    """What is wrong with the arguments; "" where nothing is."""
    from providers.mcp import schemas  # and with it a library that most processes never need

    return schemas.argument_fault(tool.input_schema, arguments)


def description_of(tool: McpTool) -> str:
    """What a model is told of it, and by whom."""
    return f"Tool of the MCP server {tool.server.name}, in whose words: {tool.description or tool.title or tool.name}"


def _usable() -> QuerySet[McpTool]:
    found = McpTool.objects.select_related("server").order_by("function")
    return found.filter(enabled=True, server__enabled=True, accepted_hash=F("definition_hash"))
