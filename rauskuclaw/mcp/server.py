"""The protocol's server, over standard input and output or HTTP, with the official library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server

from rauskuclaw.mcp.api import SCHEME, Api, CallFailed
from rauskuclaw.mcp.tools import BY_NAME, RESOURCES, TOOLS

VERSION = "0.1.0"
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}
_READS = {"memory_search"}

Context = Any
"""mcp's context of a request; its `request` is the HTTP request, where there is one."""


def make_server(api_of: Callable[[Context], Api]) -> Server[Any]:
    """A server whose requests go to the API that `api_of` names for each."""

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = BY_NAME.get(params.name)
        try:
            if tool is None:
                raise CallFailed("TOOL_UNKNOWN", f"There is no tool {params.name!r}.")
            return _said(await api_of(ctx).run(tool, params.arguments or {}))
        except CallFailed as failure:
            return _said(f"Error: {failure}", is_error=True)

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        try:
            text, mime = await api_of(ctx).read(str(params.uri))
        except CallFailed as failure:
            raise ValueError(f"Error: {failure}") from None
        contents = types.TextResourceContents(uri=params.uri, mime_type=mime, text=text)
        return types.ReadResourceResult(contents=[contents])

    return Server(
        "rauskuclaw-mcp",
        version=VERSION,
        instructions="Runs and watches durable jobs, and the memory, workspace and schedules around them.",
        on_list_tools=_list_tools,
        on_call_tool=call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=read_resource,
    )


async def _list_tools(_ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[
            types.Tool(
                name=tool.name,
                description=tool.description,
                input_schema=tool.input_schema,
                annotations=types.ToolAnnotations(
                    read_only_hint=tool.method not in _WRITES or tool.name in _READS,
                    destructive_hint=tool.method == "DELETE" or tool.name == "memory_reset",
                    open_world_hint=False,
                ),
            )
            for tool in TOOLS
        ]
    )


async def _list_resources(_ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    found = [kind for kind in RESOURCES if "{" not in kind.uri]
    return types.ListResourcesResult(
        resources=[types.Resource(uri=SCHEME + kind.uri, name=kind.name, mime_type=kind.mime) for kind in found]
    )


async def _list_templates(
    _ctx: Context, _params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    found = [kind for kind in RESOURCES if "{" in kind.uri]
    templates = [
        types.ResourceTemplate(uri_template=SCHEME + kind.uri, name=kind.name, mime_type=kind.mime) for kind in found
    ]
    return types.ListResourceTemplatesResult(resource_templates=templates)


def _said(text: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=is_error)
