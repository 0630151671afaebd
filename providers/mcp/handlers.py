"""The jobs that ask MCP servers."""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, field_validator

from jobs.handlers.base import AsyncHandler, AsyncJobContext, Needs
from jobs.handlers.fields import ObjectInput
from providers.mcp.outputs import CallOutput

MAX_ARGUMENT_BYTES = 262_144


class CallInput(ObjectInput):
    """Which tool of which server, and its arguments."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"server": "docs", "tool": "search", "arguments": {"query": "how to back up"}}]}
    )
    required = ("mcp.call", "tool")

    server: StrictStr = Field(max_length=80, description="Name of a registered MCP server.")
    tool: StrictStr = Field(max_length=128, description="The tool, as the server names it.")
    arguments: dict[str, Any] = Field({}, description="By the tool's own schema.")

    @field_validator("arguments")
    @classmethod
    def _size(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(value)) > MAX_ARGUMENT_BYTES:
            raise ValueError(f"arguments must have at most {MAX_ARGUMENT_BYTES:,} bytes")
        return value


class McpCall(AsyncHandler[CallInput, CallOutput]):
    """Calls a tool that was accepted. A cancel closes the connection, and kills the command of a stdio server."""

    id = "builtin:mcp.call"
    Input = CallInput
    Output = CallOutput
    needs = Needs(network=True, shell=True)  # noqa: S604 - tells of a need, starts nothing

    async def arun(self, ctx: AsyncJobContext[CallInput]) -> CallOutput:
        """Fails with HANDLER_DISABLED, POLICY_DENIED, or one of MCP_*; only before the call is it tried again."""
        calls, given = await _calls(), ctx.input
        ctx.log("Calling MCP tool", server=given.server, tool=given.tool)
        output: CallOutput = await calls.call(
            given.server, given.tool, given.arguments, by=f"job:{ctx.job_id}", most_sec=ctx.remaining_sec(),
            on_progress=ctx.progress, cookie=ctx.cookie,
        )  # fmt: skip
        ctx.log("MCP tool answered", duration_ms=output.duration_ms, truncated=output.truncated)
        return output


class RefreshInput(ObjectInput):
    """Which server."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"server": "docs"}]})
    required = ("system.mcp.refresh", "server")

    server: StrictStr = Field(max_length=80, description="Name of a registered MCP server.")


class RefreshOutput(BaseModel):
    """Names of tools."""

    count: int
    added: list[str] = Field(description="They wait to be accepted.")
    changed: list[str] = Field(description="Accepted once, defined otherwise now: switched off.")
    removed: list[str]
    rejected: list[dict[str, str]] = Field(description="Not taken over, and why.")


class McpRefresh(AsyncHandler[RefreshInput, RefreshOutput]):
    """Asks a server which tools it has, where its commands and network are: at a worker."""

    id = "builtin:mcp.refresh"
    Input = RefreshInput
    Output = RefreshOutput
    needs = Needs(network=True, shell=True)  # noqa: S604 - tells of a need, starts nothing

    async def arun(self, ctx: AsyncJobContext[RefreshInput]) -> RefreshOutput:
        """Fails as `McpCall` does."""
        calls = await _calls()
        found = await calls.refresh(
            ctx.input.server, by=f"job:{ctx.job_id}", most_sec=ctx.remaining_sec(), cookie=ctx.cookie
        )
        for name in found.changed:
            ctx.log("A tool is no longer what was accepted: switched off", "warn", tool=name)
        return RefreshOutput(**found.__dict__)


async def _calls() -> Any:
    """The library takes half a second to load: with the first call, beside the event loop, and not at every start."""
    return await asyncio.to_thread(import_module, "providers.mcp.calls")


HANDLERS = (McpCall, McpRefresh)
