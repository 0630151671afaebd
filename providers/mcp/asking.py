"""Asking for a refresh: a job, because the network and the commands of servers are those of the workers."""

from __future__ import annotations

from access.principals import Principal
from jobs import submission
from jobs.models import Job
from jobs.requests import parse_new_job
from providers.mcp import servers
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

REFRESH = "system.mcp.refresh"


def ask_for_refresh(name: str, *, by: str, principal: Principal | None = None) -> Job:
    """The job that refreshes a server. Raises NOT_FOUND; CONFLICT where it could only fail."""
    server = servers.find(name)
    if not load().mcp_client_enabled:
        raise Problem(errors.CONFLICT, "MCP servers are not asked: set MCP_CLIENT_ENABLED=1 for web and workers.")
    if not server.enabled:
        raise Problem(errors.CONFLICT, f"{name} is switched off: PATCH it with enabled: true.")
    new = parse_new_job({"type": REFRESH, "input": {"server": name}, "tags": ["mcp"]})
    return submission.submit(new, created_by=by, principal=principal).job
