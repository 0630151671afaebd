"""Rounds of tool calls: a chat job whose model asks for tools, which run as jobs of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import execution
from jobs.models import Job, JobType, Status
from jobs.pools.io import IOPool
from jobs.slots import Slots
from jobs.transitions import Claimable
from providers.models import ModelCall
from rauskuclaw import config
from tests.conftest import WORKER, error_of
from tests.modelserver import ModelServer, Reply, ToolCall, Usage
from tests.providers.conftest import CHAT, CLAUDE, HANDLERS, LLAMA, lines_of

pytestmark = pytest.mark.django_db(transaction=True)
READ = ToolCall("data_file_read", {"path": "notes.txt"})
Agent = Callable[..., Job]


@pytest.fixture
def agent(asks: ModelServer, make_type: Any, make_job: Any, pool: IOPool, configure: Any, tmp_path: Path) -> Agent:
    """`agent(type, **input)`: the chat job after all its rounds, each step run as its worker does."""
    configure(WORKSPACE_ROOT=tmp_path, DATA_FILE_READ_ENABLED=1)
    (tmp_path / "notes.txt").write_text("The meeting is on Friday.")
    make_type("data.file_read", handler="builtin:data.file_read")
    make_type("tool.exec", handler="builtin:tool.exec")

    def take(job: Job) -> Claimable:
        Job.objects.filter(pk=job.pk, published_at=None).update(published_at=job.created_at)
        return Claimable(job.id, job.fence, WORKER, None)

    def run(type: str = CHAT, *, fields: dict[str, Any] | None = None, **given: Any) -> Job:
        make_type(type, handler=HANDLERS[type])
        job = make_job(type, input={"prompt": "When is the meeting?", **given}, **(fields or {}))
        for _ in range(10):
            take(job)
            pool.run(job.id, job.fence, worker=WORKER)
            for child in Job.objects.filter(group__parent=job, status=Status.QUEUED):
                execution.run_attempts([[take(child)]], slots=Slots(1))
            job = Job.objects.get(pk=job.pk)
            if Status(job.status).is_terminal:
                return job
        raise AssertionError(f"the job does not end: {job.status}")

    return run


@pytest.mark.parametrize("type_", [CHAT, CLAUDE, LLAMA])
def test_a_model_reads_a_file_and_answers(type_: str, asks: ModelServer, agent: Agent) -> None:
    asks.answer(Reply("Let me look.", READ, usage=Usage(10, 5)), Reply("On Friday.", usage=Usage(30, 3)))

    job = agent(type_, agent_tools=True)

    assert job.status == Status.SUCCEEDED, job.error
    result: Any = job.result
    assert (result["output_text"], result["tool_calls"], result["finish_reason"]) == ("On Friday.", None, "stop")
    done = result["tool_execution"]
    assert (done["rounds"], done["max_rounds"], done["call_count"]) == (1, 3, 1)
    [call] = done["calls"]
    child = Job.objects.get(group__parent=job)
    assert call == {
        "id": "call_1", "function": "data_file_read", "job_type": "data.file_read", "job_id": str(child.pk), "ok": True,
        "error": None,
    }  # fmt: skip
    assert (child.type, child.tags, child.queue) == ("data.file_read", ["agent-tool"], job.queue)
    assert "The meeting is on Friday." in json.dumps(asks.calls[1].body["messages"])
    assert (result["usage"]["prompt_tokens"], result["usage"]["completion_tokens"]) == (40, 8)
    assert ModelCall.objects.filter(job_id=job.pk).count() == 2


def test_the_log_tells_of_each_round(asks: ModelServer, agent: Agent) -> None:
    asks.answer(Reply(READ), "On Friday.")

    job = agent(agent_tools=True)

    assert lines_of(job, "Agent tool calling enabled") == [{"tool_count": 1}]
    assert lines_of(job, "Provider returned tool calls") == [{"round": 1, "tool_call_count": 1}]
    [told] = lines_of(job, "Executing agent tool call")
    assert told == {"function": "data_file_read", "job_type": "data.file_read", "call_id": "call_1"}
    assert len(lines_of(job, "Starting provider-backed handler")) == 1
    assert len(lines_of(job, "Provider-backed handler completed")) == 1


def test_the_results_go_back_as_tool_messages(asks: ModelServer, agent: Agent) -> None:
    asks.answer(Reply("Let me look.", READ), "On Friday.")

    agent(agent_tools=True)

    first, second = (call.body for call in asks.calls)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["data_file_read"]
    assert first["tool_choice"] == "auto"
    asked, told = second["messages"][-2:]
    assert (asked["role"], asked["content"], asked["tool_calls"][0]["id"]) == ("assistant", "Let me look.", "call_1")
    assert (told["role"], told["tool_call_id"]) == ("tool", "call_1")
    assert json.loads(told["content"])["ok"] is True


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (ToolCall("no_such_tool"), "TOOL_UNKNOWN"),
        (ToolCall("data_fetch", {"url": "https://example.org"}), "TOOL_DISABLED"),
        (ToolCall("tool_exec", {"command": "ls"}), "TOOL_DISABLED"),
        (ToolCall("data_file_read", {}), "TOOL_EXEC_ERROR"),
        (ToolCall("data_file_read", "{no json"), "TOOL_EXEC_ERROR"),
    ],
    ids=["unknown", "no-type", "switched-off", "bad-input", "no-json"],
)
def test_a_call_that_cannot_be_made_is_told_to_the_model(
    call: ToolCall, code: str, asks: ModelServer, agent: Agent
) -> None:
    asks.answer(Reply(call), "I cannot.")

    result: Any = agent(agent_tools=True).result

    told = json.loads(asks.calls[1].body["messages"][-1]["content"])
    assert (told["ok"], told["error"]["code"]) == (False, code)
    [noted] = result["tool_execution"]["calls"]
    assert (noted["ok"], noted["error"]["code"]) == (False, code)
    assert result["output_text"] == "I cannot."


def test_a_tool_that_fails_is_told_with_its_own_code(asks: ModelServer, agent: Agent) -> None:
    asks.answer(Reply(ToolCall("data_file_read", {"path": "nowhere.txt"})), "It is not there.")

    job = agent(agent_tools=True)

    told = json.loads(asks.calls[1].body["messages"][-1]["content"])
    child = Job.objects.get(group__parent=job)
    assert (told["ok"], told["error"]["code"]) == (False, error_of(child)["code"])
    assert job.status == Status.SUCCEEDED


def test_a_handler_for_models_only_is_blocked(asks: ModelServer, agent: Agent, make_type: Any) -> None:
    make_type("data.fetch", handler="builtin:provider.openai.chat")
    asks.answer(Reply(ToolCall("data_fetch", {"url": "https://example.org"})), "No.")

    agent(agent_tools=True)

    assert json.loads(asks.calls[1].body["messages"][-1]["content"])["error"]["code"] == "TOOL_HANDLER_BLOCKED"


def test_rounds_have_an_end(asks: ModelServer, agent: Agent, configure: Callable[..., config.Config]) -> None:
    configure(AGENT_TOOL_MAX_ROUNDS=2)
    asks.answer(*(Reply(ToolCall("data_file_read", {"path": "notes.txt", "max_bytes": 600 + n})) for n in range(3)))

    job = agent(agent_tools=True)

    result: Any = job.result
    assert (result["tool_execution"]["rounds"], len(result["tool_calls"]), len(asks.calls)) == (2, 1, 3)
    assert lines_of(job, "Stopping tool-calling loop at max rounds") == [{"max_rounds": 2, "remaining_tool_calls": 1}]


def test_a_model_that_goes_in_circles_is_stopped(
    asks: ModelServer, agent: Agent, configure: Callable[..., config.Config]
) -> None:
    configure(AGENT_TOOL_MAX_ROUNDS=6)
    asks.by_default = lambda call: Reply(ToolCall("no_such_tool"))

    job = agent(agent_tools=True, fields={"max_attempts": 3})

    assert (error_of(job)["code"], job.status) == ("AGENT_LOOP", Status.FAILED)
    assert len(asks.calls) == 3


def test_functions_that_only_the_caller_knows_are_the_callers_to_run(asks: ModelServer, agent: Agent) -> None:
    tool = {"type": "function", "function": {"name": "weather"}}
    asks.answer(Reply(ToolCall("weather")))

    result: Any = agent(tools=[tool], agent_tools=True).result

    assert result["tool_calls"][0]["function"]["name"] == "weather"
    assert "tool_execution" not in result


def test_without_any_tool_the_model_is_asked_all_the_same(asks: ModelServer, agent: Agent) -> None:
    JobType.objects.exclude(name=CHAT).update(enabled=False)

    job = agent(agent_tools=True)

    assert job.status == Status.SUCCEEDED
    assert lines_of(job, "Agent tool calling requested but no runtime-enabled tools available")
    assert "tools" not in asks.calls[0].body


def test_a_long_result_is_cut_for_the_model(asks: ModelServer, agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 20_000)
    asks.answer(Reply(ToolCall("data_file_read", {"path": "long.txt"})), "Long.")

    agent(agent_tools=True)

    result = json.loads(asks.calls[1].body["messages"][-1]["content"])["result"]
    assert (result["truncated"], len(result["preview"])) == (True, 12_000)
