"""One errand at a server: connect, do something, leave. Whatever goes wrong comes out as an AttemptFailed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import mcp_types as types
from mcp import Client, MCPError
from pydantic import TypeAdapter, ValidationError

from jobs.handlers.base import AttemptFailed
from jobs.storable import text
from providers.mcp.links import Link
from rauskuclaw import errors
from rauskuclaw.logs import redacted_text

MAX_TOOLS, MAX_PAGES = 256, 64
MAX_MESSAGE_CHARS = 2_000
CLIENT = types.Implementation(name="rauskuclaw", version="1")
_CALL_RESULT: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)

_MADE_UP = frozenset(
    {types.CONNECTION_CLOSED, types.INTERNAL_ERROR, types.INVALID_REQUEST, types.METHOD_NOT_FOUND, types.PARSE_ERROR}
)
"""Codes that the library also gives to answers that are none."""

T = TypeVar("T")
OnProgress = Callable[[float, str], None]

# The faults of strangers are told by us, once, and without their tracebacks in our log.
for _name in ("mcp.client", "mcp.shared", "client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Session:
    """A server that has said who it is."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.has_called = False
        """Whether a tool may have run: then doing it all again might do it twice."""

    @property
    def server(self) -> tuple[str, str]:
        """Name and version, as the server reports them."""
        info = self._client.server_info
        return (outside(info.name, 200), outside(info.version, 100)) if info else ("", "")

    async def tools(self, *, until: str | None = None) -> list[types.Tool]:
        """Its tools, page by page; those up to the page that has `until`. Raises AttemptFailed beyond MAX_TOOLS."""
        found: list[types.Tool] = []
        cursor = None
        for _ in range(MAX_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            found += page.tools
            if len(found) > MAX_TOOLS:
                raise AttemptFailed(errors.MCP_TOO_LARGE, f"the server lists more than {MAX_TOOLS} tools")
            cursor = page.next_cursor
            if cursor is None or any(tool.name == until for tool in page.tools):
                return found
        raise AttemptFailed(errors.MCP_TOO_LARGE, f"the server lists its tools on more than {MAX_PAGES} pages")

    async def call(self, name: str, arguments: dict[str, Any], on_progress: OnProgress) -> types.CallToolResult:
        """Call a tool that was listed in this session."""

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            on_progress(progress / total if total else 0.0, outside(message or "", 200))

        params = types.CallToolRequestParams(name=name, arguments=arguments)
        self.has_called = True
        # Not the session's `call_tool`: it checks results against schemas of the server's, at whatever cost.
        result = await self._client.session.send_request(
            types.CallToolRequest(params=params), _CALL_RESULT, progress_callback=progressed
        )
        if isinstance(result, types.InputRequiredResult):
            raise AttemptFailed(errors.MCP_PROTOCOL, "the tool asks for input, which a job cannot give")
        return result


async def visit(
    link: Link, step: Callable[[Session], Awaitable[T]], *, connect_timeout_sec: float, timeout_sec: float
) -> T:
    """Connect, run `step`, disconnect. timeout_sec: for all of it. Raises AttemptFailed."""
    session: Session | None = None
    try:
        async with asyncio.timeout(timeout_sec) as overall, asyncio.timeout(connect_timeout_sec) as connecting:
            client = Client(link.transport(), cache=None, client_info=CLIENT, input_required_max_rounds=1)
            async with client:
                connecting.reschedule(None)
                link.fault = None
                session = Session(client)
                return await step(session)
    except (Exception, BaseExceptionGroup) as error:
        # A group of errors may hide that we were cancelled.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        if overall.expired() or connecting.expired():
            passed_sec = timeout_sec if overall.expired() else connect_timeout_sec
            raise _failure(AttemptFailed(errors.MCP_TIMEOUT, f"not done within {passed_sec:g} s"), session) from None
        raise _failure(_first(error, link), session) from error


def outside(said: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Text of a stranger, for a message: storable, cut, and without any secret that it may repeat."""
    return redacted_text(text(said, max_chars=max_chars))


def _failure(found: AttemptFailed, session: Session | None) -> AttemptFailed:
    if session is not None and session.has_called:
        found.retryable = False
    return found


def _first(error: BaseException, link: Link) -> AttemptFailed:
    """What went wrong first: what a step found, what the server said, what the link knows, what the library makes up
    of what the link knows."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, AttemptFailed):
            return leaf
        if isinstance(leaf, MCPError) and leaf.code not in _MADE_UP:
            return _told(leaf)
    if link.fault is not None:
        return AttemptFailed(link.fault.code, outside(link.fault.message), link.fault.details)
    for leaf in leaves:
        if isinstance(leaf, MCPError):
            return _told(leaf)
    for leaf in leaves:
        if isinstance(leaf, ValidationError):
            return AttemptFailed(errors.MCP_PROTOCOL, "the server's answer has no valid form")
    return AttemptFailed(errors.MCP_PROTOCOL, outside(f"the session failed: {leaves[0]!r}", 300))


def _told(error: MCPError) -> AttemptFailed:
    if error.code == types.CONNECTION_CLOSED:
        return AttemptFailed(errors.MCP_NETWORK, outside(f"the connection broke: {error.message}"))
    if error.code == types.PARSE_ERROR:
        return AttemptFailed(errors.MCP_PROTOCOL, "the server's answer is no JSON-RPC")
    return AttemptFailed(errors.MCP_REFUSED, outside(error.message), {"rpc_code": error.code})


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
