"""Tools of MCP servers in the hands of models: listing, calls, approvals."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.approvals import decisions
from jobs.approvals.models import Approval
from jobs.models import Job, JobType
from providers.mcp.models import McpServer
from tests.apiclient import Api
from tests.approvals.conftest import Asked
from tests.jobs.test_groups import run_all
from tests.mcp_client.conftest import TEXT, Behaviour, Configure, accept, ready, refresh, tool
from tests.modelserver import ModelServer, Reply, ToolCall

pytestmark = pytest.mark.django_db(transaction=True)
ECHO = ToolCall("mcp__test__echo", {"text": "a fine day"})
BATCH = "/v1/agent-tools/invoke-batch"


@pytest.fixture
def echo(over_stdio: McpServer, behaviour: Behaviour) -> McpServer:
    """A server with one accepted tool."""
    ready(behaviour, tool("echo", TEXT, description="Says it again."))
    return over_stdio


def offered(api: Api) -> list[str]:
    return [it["function"]["name"] for it in api.get("/v1/agent-tools").json["tools"] if "mcp" in str(it)]


def test_a_tool_is_offered_while_everything_is_on(
    echo: McpServer, behaviour: Behaviour, api: Api, configure: Configure
) -> None:
    [spec] = [it["function"] for it in api.get("/v1/agent-tools").json["tools"] if "mcp" in str(it)]
    assert spec["name"] == "mcp__test__echo"
    assert spec["parameters"] == TEXT
    assert spec["description"] == "Tool of the MCP server test, in whose words: Says it again."

    JobType.objects.filter(name="mcp.call").update(enabled=False)
    assert offered(api) == []
    JobType.objects.filter(name="mcp.call").update(enabled=True)
    McpServer.objects.update(enabled=False)
    assert offered(api) == []
    McpServer.objects.update(enabled=True)
    behaviour.says(tool("echo", TEXT, description="Now I am another."))
    refresh()
    assert offered(api) == []
    accept("echo")
    assert offered(api) == ["mcp__test__echo"]
    configure(MCP_CLIENT_ENABLED=0)
    assert offered(api) == []


def test_a_batch_makes_jobs_of_calls(echo: McpServer, api: Api) -> None:
    calls = [
        {"call_id": "1", "name": "mcp__test__echo", "arguments": {"text": "hi"}},
        {"call_id": "2", "name": "mcp__test__echo", "arguments": {"text": 1}},
        {"call_id": "3", "name": "mcp__test__nothing", "arguments": {}},
    ]

    made, faulty, unknown = api.post(BATCH, {"calls": calls, "mode": "async"}).json["results"]

    job = Job.objects.get(pk=made["job_id"])
    assert (job.type, job.input) == ("mcp.call", {"server": "test", "tool": "echo", "arguments": {"text": "hi"}})
    assert faulty["error"]["code"] == "JOB_CREATE_FAILED"
    assert "arguments.text" in faulty["error"]["message"]
    assert unknown["error"]["code"] == "UNKNOWN_TOOL"


def test_each_call_of_a_model_waits_for_a_person_by_default(
    echo: McpServer, behaviour: Behaviour, asked: Asked, configure: Configure, models: ModelServer
) -> None:
    chat = asked(Reply(ECHO), "It said so.")

    approval = Approval.objects.get()
    assert (chat.status, behaviour.called) == ("queued", [])
    assert approval.reason == "every call of mcp__test__echo needs approval"
    decisions.approve(approval, arguments_hash=approval.arguments_hash, by="key:ci")
    run_all()

    chat.refresh_from_db()
    assert (chat.status, behaviour.called) == ("succeeded", [["echo", {"text": "a fine day"}]])
    assert "a fine day" in str(models.calls[-1].body)
    assert dict(chat.result or {})["untrusted_sources"] == ["mcp__test__echo"]


def test_a_call_without_approval_is_made_at_once_and_makes_others_wait(
    echo: McpServer, behaviour: Behaviour, asked: Asked
) -> None:
    accept("echo", approval="untrusted")

    chat = asked(Reply(ECHO), Reply(ToolCall("mcp__test__echo", {"text": "again"})), "Done.")

    assert (chat.status, len(behaviour.called)) == ("queued", 1)
    assert "text from outside is in the conversation (mcp__test__echo)" in Approval.objects.get().reason


def test_a_model_is_told_why_a_call_is_not_made(echo: McpServer, asked: Asked, models: ModelServer) -> None:
    accept("echo", approval="never")

    chat = asked(Reply(ToolCall("mcp__test__echo", {"text": 1})), "I see.")

    [call] = dict(chat.result or {})["tool_execution"]["calls"]
    assert (call["job_id"], call["error"]["code"]) == (None, "TOOL_EXEC_ERROR")


def test_functions_of_the_caller_that_only_look_like_ours_are_left_to_it(
    echo: McpServer, asked: Asked, behaviour: Behaviour
) -> None:
    own: dict[str, Any] = {"type": "function", "function": {"name": "mcp__theirs__x", "parameters": {}}}

    chat = asked(Reply(ToolCall("mcp__theirs__x", {})), given={"tools": [own]})

    result = dict(chat.result or {})
    assert [it["function"]["name"] for it in result["tool_calls"]] == ["mcp__theirs__x"]
    assert behaviour.called == []
