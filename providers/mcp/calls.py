"""Asking a registered server: refreshing what it offers, and calling a tool of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import mcp_types as types

from jobs.handlers.base import AttemptFailed
from jobs.handlers.database import in_database
from jobs.handlers.tool_exec import resolve
from providers.mcp import listing, schemas, secrets
from providers.mcp.links import HttpLink, Link, StdioLink
from providers.mcp.listing import Definition, Refreshed
from providers.mcp.models import McpServer, McpTool
from providers.mcp.outputs import CallOutput
from providers.mcp.requests import check_endpoint
from providers.mcp.results import output_of
from providers.mcp.sessions import OnProgress, Session, outside, visit
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.netguard import listed_hosts

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A server and what opens it, read once."""

    server: McpServer
    headers: Mapping[str, str] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, name: str) -> Target:
        """Reads the database. Raises AttemptFailed: HANDLER_DISABLED, MCP_UNKNOWN, MCP_DISABLED, MCP_CONFIG."""
        if not load().mcp_client_enabled:
            raise AttemptFailed(errors.HANDLER_DISABLED, "MCP_CLIENT_ENABLED=1 required to ask MCP servers")
        server = McpServer.objects.filter(name=name).first()
        if server is None:
            raise AttemptFailed(errors.MCP_UNKNOWN, f"there is no MCP server {name[:80]!r}")
        if not server.enabled:
            raise AttemptFailed(errors.MCP_DISABLED, f"the MCP server {name} is switched off")
        headers = secrets.opened(name, "headers", server.headers)
        return cls(server, headers, secrets.opened(name, "env", server.env))

    @property
    def secret_values(self) -> list[str]:
        """And what follows `Bearer `."""
        values = [*self.headers.values(), *self.env.values()]
        return values + [word for value in values for word in value.split() if word != value]

    async def visit(self, step: Callable[[Session], Awaitable[T]], *, most_sec: float, cookie: str) -> T:
        """Connect and run `step`, within the server's time limits and `most_sec`. Raises AttemptFailed.

        cookie: of the attempt; "" outside of jobs.
        """
        timeout_sec = min(float(self.server.call_timeout_sec), max(0.1, most_sec))
        connect_sec = min(float(self.server.connect_timeout_sec), timeout_sec)
        return await visit(
            self._link(timeout_sec, cookie), step, connect_timeout_sec=connect_sec, timeout_sec=timeout_sec
        )

    def _link(self, timeout_sec: float, cookie: str) -> Link:
        config = load()
        if self.server.transport == McpServer.Transport.STDIO:
            argv = [self._command(config.mcp_stdio_allowlist), *self.server.args]
            # The last part is of this connection alone: ending it must end no other.
            mark = f"{cookie or 'mcp'}/{uuid.uuid4()}"
            return StdioLink(argv, self.env, config.var_dir / "mcp" / self.server.name, mark)
        private_hosts = listed_hosts(config.mcp_private_hosts)
        try:
            # Again: the setting may be another than when the server was registered.
            url = check_endpoint(self.server.url)
        except ValueError as refused:
            raise AttemptFailed(errors.POLICY_DENIED, f"{self.server.name}: {refused}") from None
        return HttpLink(url, self.headers, private_hosts, timeout_sec)

    def _command(self, allowlist: tuple[str, ...]) -> str:
        try:
            return resolve(self.server.command, allowlist)
        except AttemptFailed as failed:
            if failed.code is not errors.POLICY_DENIED:
                raise AttemptFailed(errors.MCP_CONFIG, f"{self.server.command!r} is not installed here") from None
            told = f"{self.server.command!r} is not in MCP_STDIO_ALLOWLIST"
            raise AttemptFailed(errors.POLICY_DENIED, told) from None


async def refresh(name: str, *, by: str, most_sec: float, cookie: str = "") -> Refreshed:
    """Ask a server for its tools and take them over. Raises AttemptFailed, which its page shows as well."""

    async def step(session: Session) -> tuple[tuple[str, str], list[types.Tool]]:
        listed = await session.tools()
        return session.server, listed

    try:
        target = await in_database(lambda: Target.of(name))
        server, listed = await target.visit(step, most_sec=most_sec, cookie=cookie)
    except AttemptFailed as failed:
        failure = failed
        await in_database(lambda: listing.note_failure(name, failure))
        raise
    return await in_database(lambda: listing.take_over(name, server, listed, by=by))


class Changed(AttemptFailed):
    """The tool is no longer what was accepted."""

    def __init__(self, tool: McpTool, definition: Definition | None) -> None:
        self.tool_id, self.definition = tool.pk, definition
        super().__init__(
            errors.MCP_TOOL_CHANGED,
            f"{tool} is defined otherwise than was accepted, and was switched off: look at it, then accept it anew",
        )


async def call(
    server: str,
    tool: str,
    arguments: dict[str, Any],
    *,
    by: str,
    most_sec: float,
    on_progress: OnProgress,
    cookie: str = "",
) -> CallOutput:
    """Call an accepted tool, after a look at whether it still is what was accepted. Raises AttemptFailed."""
    target, row = await in_database(lambda: _callable(server, tool))
    if fault := schemas.argument_fault(row.input_schema, arguments):
        raise AttemptFailed(errors.MCP_ARGUMENTS, f"{row}: {fault}")
    began = time.monotonic()
    try:
        step = partial(_checked_call, row, arguments, on_progress)
        result = await target.visit(step, most_sec=most_sec, cookie=cookie)
    except Changed as changed:
        noted = changed
        await in_database(lambda: listing.note_change(noted.tool_id, noted.definition, by=by))
        raise
    output = output_of(
        result, server=server, tool=tool, secrets=target.secret_values,
        duration_ms=round((time.monotonic() - began) * 1000),
    )  # fmt: skip
    if result.is_error:
        details = {"structured": output.structured} if output.structured is not None else None
        raise AttemptFailed(errors.MCP_TOOL_ERROR, outside(output.text) or "the tool failed and says nothing", details)
    return output


async def _checked_call(
    row: McpTool, arguments: dict[str, Any], on_progress: OnProgress, session: Session
) -> types.CallToolResult:
    found = next((tool for tool in await session.tools(until=row.name) if tool.name == row.name), None)
    if found is None:
        raise AttemptFailed(errors.MCP_UNKNOWN, f"the server lists no tool {row.name} any more: refresh it")
    definition = None if listing.rejection_of(found) else listing.definition_of(found)
    if definition is None or definition.hash != row.accepted_hash:
        raise Changed(row, definition)
    return await session.call(row.name, arguments, on_progress)


def _callable(server: str, name: str) -> tuple[Target, McpTool]:
    """Reads the database. Raises AttemptFailed."""
    target = Target.of(server)
    tool = McpTool.objects.select_related("server").filter(server=target.server, name=name).first()
    if tool is None:
        raise AttemptFailed(errors.MCP_UNKNOWN, f"{server} has no tool {name[:130]!r}: refresh it to see its tools")
    if not (tool.enabled and tool.is_accepted):
        why = "switched off" if tool.is_accepted else "not accepted as it is defined now"
        raise AttemptFailed(errors.MCP_DISABLED, f"{tool} is {why}")
    return target, tool
