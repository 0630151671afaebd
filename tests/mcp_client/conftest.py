"""Registered servers, and calls of their tools as an I/O worker makes them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from providers.mcp import calls, servers
from providers.mcp.listing import Refreshed
from providers.mcp.models import McpServer
from providers.mcp.outputs import CallOutput
from providers.mcp.requests import NewServer, ToolChange
from rauskuclaw import config, netguard
from tests.admin.conftest import admin  # noqa: F401 - the fixture
from tests.approvals.conftest import asked  # noqa: F401 - the fixture
from tests.operations.conftest import manage  # noqa: F401 - the fixture

SERVER = Path(__file__).parents[1] / "mcpserver" / "server.py"
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ANYTHING = {"type": "object"}
Configure = Callable[..., config.Config]


def tool(name: str, schema: dict[str, Any] = ANYTHING, **more: Any) -> dict[str, Any]:
    """A tool as the protocol has it."""
    return {"name": name, "inputSchema": schema, **more}


@dataclass
class Behaviour:
    """What the server of a test lists and was asked; `says(...)` may be called again while it runs."""

    file: Path

    def says(self, *tools: dict[str, Any], **more: Any) -> None:
        self.file.write_text(json.dumps({"tools": tools, **more}))

    @property
    def called(self) -> list[Any]:
        calls = self.file.with_suffix(".calls")
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    def pids(self) -> list[int]:
        """Of the server and of its daemon, once `hang` was called."""
        return [int(pid) for pid in wait_for(self.file.with_suffix(".pids")).split()]


def wait_for(file: Path) -> str:
    """Its text, once there is some."""
    for _ in range(1_000):
        if file.exists() and (text := file.read_text()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"no {file.name} was written")


@pytest.fixture
def behaviour(tmp_path: Path) -> Behaviour:
    found = Behaviour(tmp_path / "server.json")
    found.says(tool("echo", TEXT, description="Says it again."))
    return found


@pytest.fixture
def switched_on(transactional_db: None, make_type: Any, configure: Configure, tmp_path: Path) -> None:
    """The client may ask commands of this Python, and servers on loopback; and `mcp.call` is enabled."""
    configure(
        MCP_CLIENT_ENABLED=1, MCP_STDIO_ALLOWLIST=sys.executable, MCP_PRIVATE_HOSTS="127.0.0.1",
        VAR_DIR=str(tmp_path / "var"),
    )  # fmt: skip
    for name, handler in (("mcp.call", "builtin:mcp.call"), ("system.mcp.refresh", "builtin:mcp.refresh")):
        make_type(name, handler=handler, default_max_attempts=1)


Register = Callable[..., McpServer]


@pytest.fixture
def register(switched_on: None) -> Register:
    """`register(name, ...)`: an enabled server."""

    def make(name: str = "test", **fields: Any) -> McpServer:
        return servers.create(NewServer(name=name, **{"enabled": True, **fields}), by="test")

    return make


@pytest.fixture
def over_stdio(register: Register, behaviour: Behaviour) -> McpServer:
    """The server as a command."""
    return register(
        transport="stdio", command=sys.executable, args=[str(SERVER), "stdio", str(behaviour.file)],
        env={"TOKEN": "a-very-secret-token"},
    )  # fmt: skip


@pytest.fixture
def http_port(behaviour: Behaviour) -> Iterator[int]:
    """The server as a process that listens."""
    process = subprocess.Popen([sys.executable, str(SERVER), "http", str(behaviour.file)])
    try:
        yield int(wait_for(behaviour.file.with_suffix(".port")))
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def over_http(register: Register, http_port: int) -> McpServer:
    """The server at an address."""
    headers = {"Authorization": "Bearer a-very-secret-token"}
    return register(transport="http", url=f"http://127.0.0.1:{http_port}/mcp/", headers=headers)


@pytest.fixture(params=["stdio", "http"])
def server(request: pytest.FixtureRequest) -> McpServer:
    """Both."""
    found: McpServer = request.getfixturevalue(f"over_{request.param}")
    return found


def refresh(name: str = "test") -> Refreshed:
    return asyncio.run(calls.refresh(name, by="test", most_sec=30))


def accept(name: str, server: str = "test", **more: Any) -> None:
    """As an operator does who looked at it."""
    row = servers.find(server).tools.get(name=name)
    servers.change_tool(server, name, ToolChange(accept=row.definition_hash, enabled=True, **more), by="test")


def call(name: str, arguments: dict[str, Any] | None = None, server: str = "test", **more: Any) -> CallOutput:
    """Call a tool, without a job."""
    options: dict[str, Any] = {"by": "test", "most_sec": 30, "on_progress": lambda *_: None, **more}
    return asyncio.run(calls.call(server, name, arguments or {}, **options))


def ready(behaviour: Behaviour, *tools: dict[str, Any], **more: Any) -> None:
    """List these, take them over, accept them all."""
    behaviour.says(*tools, **more)
    refresh()
    for each in tools:
        accept(each["name"])


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`names(**{"a.test": "127.0.0.1"})`: what the system's resolver answers."""

    def answer(**addresses: str) -> None:
        monkeypatch.setattr(netguard, "system_resolver", lambda host: addresses[host].split())

    return answer
