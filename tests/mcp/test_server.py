"""The MCP server of a running stack, asked by the official client: over HTTP and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from rauskuclaw.config import ROOT
from rauskuclaw.mcp.tools import RESOURCES, TOOLS
from tests.running import API_KEY, RunningStack, running_stack

# Over standard input and output each question starts a process that loads Django: seconds on a busy machine.
pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("mcp stack"), pytest.mark.timeout(400)]
T = TypeVar("T")
READ_KEY = "reader-key-of-the-mcp-tests"
KEYS = json.dumps([{"key": API_KEY, "name": "admin"}, {"key": READ_KEY, "name": "reader", "role": "read"}])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    root = tmp_path_factory.mktemp("workspace")
    root.chmod(0o777)
    (root / "notes.md").write_text("# Notes\n")
    with running_stack(API_KEYS_JSON=KEYS, WORKSPACE_ROOT=str(root)) as running:
        yield running


@asynccontextmanager
async def over_http(stack: RunningStack, key: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"x-api-key": key}, timeout=60) as http,
        Client(streamable_http_client(f"{stack.http.base_url}/mcp", http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(stack: RunningStack, key: str) -> AsyncIterator[Client]:
    env = {"RAUSKUCLAW_API_URL": str(stack.http.base_url), "RAUSKUCLAW_API_KEY": key, "PATH": ""}
    command = StdioServerParameters(
        command=sys.executable, args=[str(ROOT / "manage.py"), "mcp"], env=env, cwd=str(ROOT)
    )
    async with Client(command) as client:
        yield client


WAYS = {"http": over_http, "stdio": over_stdio}
Way = Callable[[Callable[[Client], Awaitable[T]]], T]


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest, stack: RunningStack) -> Callable[..., Any]:
    """`ask(step, key=...)`: run a coroutine function with a connected client."""

    def run(step: Callable[[Client], Awaitable[T]], key: str = API_KEY) -> T:
        async def connected() -> T:
            async with WAYS[request.param](stack, key) as client:
                return await step(client)

        return asyncio.run(connected())

    return run


def tool(tool_name: str, **arguments: Any) -> Callable[[Client], Awaitable[tuple[bool, str]]]:
    async def call(client: Client) -> tuple[bool, str]:
        result: Any = await client.call_tool(tool_name, arguments)
        assert len(result.content) == 1
        return bool(result.is_error), str(result.content[0].text)

    return call


def found(answer: tuple[bool, str]) -> Any:
    """The JSON below the heading."""
    failed, text = answer
    assert not failed, text
    return json.loads(text.split("\n", 1)[1])


def test_all_tools_and_resources_are_listed(ask: Any) -> None:
    async def listed(client: Client) -> Any:
        return await client.list_tools(), await client.list_resources(), await client.list_resource_templates()

    tools, resources, templates = ask(listed)

    assert len(tools.tools) == 37
    assert [it.name for it in tools.tools] == [it.name for it in TOOLS]
    create = next(it for it in tools.tools if it.name == "jobs_create")
    assert create.input_schema["required"] == ["type"]
    assert create.input_schema["properties"]["priority"] == {
        "type": "integer", "minimum": 0, "maximum": 10, "default": 5
    }  # fmt: skip
    assert len(resources.resources) + len(templates.resource_templates) == len(RESOURCES)
    hints = {it.name: it.annotations for it in tools.tools}
    assert hints["jobs_list"].read_only_hint
    assert hints["memory_reset"].destructive_hint


def test_a_job_is_made_watched_and_cancelled(ask: Any, stack: RunningStack) -> None:
    job = found(ask(tool("jobs_create", type="report.generate", input={"title": "By a model"}, tags=["mcp"])))
    assert set(job) == {"id", "type", "status", "queue"}
    stack.wait_for(job["id"], "succeeded")

    assert found(ask(tool("jobs_get", job_id=job["id"])))["status"] == "succeeded"
    assert any(it["id"] == job["id"] for it in found(ask(tool("jobs_list", type="report.generate", limit=5))))
    assert found(ask(tool("jobs_logs", job_id=job["id"], tail=1)))[0]["message"] == "Job succeeded"
    failed, text = ask(tool("jobs_cancel", job_id=job["id"]))
    assert (failed, text.split(" - ")[0]) == (True, "Error: CONFLICT")


def test_files_memories_schedules_and_preferences(ask: Any) -> None:
    written = found(ask(tool("workspace_create", path="by-mcp.txt", content="hello", overwrite=True)))
    assert written["path"] == "by-mcp.txt"
    assert found(ask(tool("workspace_read", path="by-mcp.txt")))["content"] == "hello"
    assert found(ask(tool("workspace_delete", path="by-mcp.txt"))) == {"path": "by-mcp.txt"}
    memory = found(ask(tool("memory_write", scope="mcp.tests", key="a.fact", value={"n": 1}, tags=["x"])))
    assert found(ask(tool("memory_get", memory_id=memory["id"])))["value"] == {"n": 1}
    # A model wrote it: it does not come back as something that somebody vouches for.
    assert memory["provenance"]["trusted"] is False
    schedule = found(ask(tool("schedules_create", type="report.generate", cron="0 3 * * *", name="by mcp")))
    assert found(ask(tool("schedules_update", schedule_id=schedule["id"], enabled=False)))["enabled"] is False
    assert found(ask(tool("schedules_delete", schedule_id=schedule["id"]))) is True
    assert found(ask(tool("ui_prefs_set", prefs={"devMode": True}, scope="other"))) == {
        "scope": "default", "prefs": {"devMode": True},
    }  # fmt: skip
    session = found(ask(tool("working_memory_save", state={"current_goal": "ship"})))["session_id"]
    assert found(ask(tool("working_memory_get", session_id=session)))["current_goal"] == "ship"
    assert found(ask(tool("runtime_whoami")))["name"] == "admin"
    assert "counters" in found(ask(tool("runtime_metrics", window_sec=600)))["metrics"]


def test_resources_are_read(ask: Any) -> None:
    async def read(client: Client) -> list[Any]:
        uris = ("rauskuclaw://workspace/notes.md", "rauskuclaw://runtime/handlers", "rauskuclaw://schedules")
        return [(await client.read_resource(uri)).contents[0] for uri in uris]

    text, handlers, schedules = ask(read)

    assert (text.text, text.mime_type) == ("# Notes\n", "text/plain")
    assert "tool_exec" in json.loads(handlers.text)
    assert isinstance(json.loads(schedules.text), list)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("memory_reset", {"confirm": False}, "Error: CONFIRMATION_REQUIRED - "),
        ("jobs_get", {"job_id": "00000000-0000-4000-8000-000000000000"}, "Error: NOT_FOUND - "),
        ("jobs_get", {"job_id": "../health"}, "Error: NOT_FOUND - "),
        ("jobs_get", {"job_id": ".."}, "Error: VALIDATION_ERROR - "),
        ("jobs_get", {}, "Error: VALIDATION_ERROR - jobs_get: job_id is required."),
        ("jobs_create", {"type": "report.generate", "priority": 11}, "Error: VALIDATION_ERROR - priority"),
        ("no_such_tool", {}, "Error: TOOL_UNKNOWN - "),
        ("workspace_read", {"path": "../outside"}, "Error: VALIDATION_ERROR - "),
    ],
)
def test_what_goes_wrong_is_told_with_its_code(ask: Any, name: str, arguments: dict[str, Any], says: str) -> None:
    failed, text = ask(tool(name, **arguments))

    assert failed
    assert text.startswith(says)


def test_rights_are_those_of_the_key(ask: Any) -> None:
    assert found(ask(tool("jobs_list"), READ_KEY)) is not None
    failed, text = ask(tool("jobs_create", type="report.generate"), READ_KEY)
    assert (failed, text.split(" - ")[0]) == (True, "Error: FORBIDDEN")


def test_a_server_that_is_away_is_told(stack: RunningStack) -> None:
    async def step() -> tuple[bool, str]:
        env = {"RAUSKUCLAW_API_URL": "http://127.0.0.1:9", "RAUSKUCLAW_API_KEY": "x"}
        command = StdioServerParameters(
            command=sys.executable, args=[str(ROOT / "manage.py"), "mcp"], env=env, cwd=str(ROOT)
        )
        async with Client(command) as client:
            return await tool("jobs_list")(client)

    failed, text = asyncio.run(step())
    assert (failed, text.split(" - ")[0]) == (True, "Error: NETWORK_ERROR")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "UNAUTHORIZED"),
        ({"x-api-key": "wrong"}, 401, "UNAUTHORIZED"),
        ({"x-api-key": API_KEY, "origin": "https://evil.example"}, 403, "CSRF_FAILED"),
    ],
)
def test_the_door_lets_in_nobody_else(stack: RunningStack, headers: dict[str, str], status: int, code: str) -> None:
    answer = httpx.post(f"{stack.http.base_url}/mcp", json={}, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
