"""`python server.py stdio|http FILE`: serves the tools that FILE (JSON, read anew each time) says.

FILE: `{"tools": [...], "pages": n, "endless": bool, "first": "what it prints before it serves"}`; tools as the protocol
has them. What a tool does follows from its name. Calls are noted in FILE.calls, the port of HTTP in FILE.port.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Mount

FILE = Path(sys.argv[2])


def said(text: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], **more)


async def list_tools(_ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    told = json.loads(FILE.read_text())
    tools = [types.Tool.model_validate(tool) for tool in told["tools"]]
    size = -(-len(tools) // told.get("pages", 1)) or 1
    start = int(params.cursor) if params is not None and params.cursor else 0
    more = str(start + size) if start + size < len(tools) else None
    if told.get("endless"):
        more = str(start)
    return types.ListToolsResult(tools=tools[start : start + size], next_cursor=more)


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    given = params.arguments or {}
    with FILE.with_suffix(".calls").open("a") as calls:
        calls.write(json.dumps([params.name, given]) + "\n")
    match params.name:
        case "echo":
            return said(str(given["text"]))
        case "whoami":
            return said(ctx.request.headers.get("authorization", "nobody") if ctx.request else os.environ["TOKEN"])
        case "structured":
            told = {"sum": 3, "of": [1, 2]}
            return said(json.dumps(told, indent=2), structured_content=told)
        case "picture":
            large, small = (base64.b64encode(bytes(size)).decode() for size in (100_000, 10))
            pictures = [types.ImageContent(type="image", data=data, mime_type="image/png") for data in (large, small)]
            return types.CallToolResult(content=[*pictures])
        case "fail":
            return said("the disk is full", is_error=True)
        case "refuse":
            raise MCPError(code=-32001, message="not for you")
        case "large":
            return said("x" * 300_000)
        case "huge":
            return said("x" * 5_000_000)
        case "die":
            os.write(2, b"out of cheese\n")
            os._exit(3)
        case "hang":
            # A child of its own, in a session of its own, as a daemon would be.
            child = subprocess.Popen(["sleep", "300"], start_new_session=True)
            FILE.with_suffix(".pids").write_text(f"{os.getpid()} {child.pid}")
            await asyncio.sleep(300)
        case "report":
            await ctx.session.report_progress(1, 2, "half")
    return said("done")


def make_server() -> Server[Any]:
    return Server("test-server", version="1.2", on_list_tools=list_tools, on_call_tool=call_tool)


async def over_stdio() -> None:
    os.write(1, json.loads(FILE.read_text()).get("first", "").encode())
    server = make_server()
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def over_http() -> None:
    manager = StreamableHTTPSessionManager(make_server())
    app = Starlette(routes=[Mount("/mcp", app=manager.handle_request)])
    web = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    async with manager.run():
        serving = asyncio.create_task(web.serve())
        while not web.started:
            await asyncio.sleep(0.01)
        FILE.with_suffix(".port").write_text(str(web.servers[0].sockets[0].getsockname()[1]))
        await serving


if __name__ == "__main__":
    asyncio.run(over_stdio() if sys.argv[1] == "stdio" else over_http())
