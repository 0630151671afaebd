"""When a person is asked: by the policy of the tool, and by what came into the conversation from outside."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from access import keys, ui_prefs
from access.models import ApiKey
from jobs.approvals import decisions
from jobs.approvals.models import Approval
from jobs.handlers.base import Child
from memory.models import Memory
from providers.agent import Dialogue
from providers.tools import TOOLS, Wanted
from tests.approvals.conftest import WRITE, Asked
from tests.jobs.test_groups import now, run_all
from tests.modelserver import ModelServer, Reply, ToolCall

pytestmark = pytest.mark.django_db(transaction=True)
LIST = ToolCall("tool_exec", {"command": "ls"})
READ = ToolCall("data_file_read", {"path": "notes.txt"})
EXEC = {"TOOL_EXEC_ENABLED": 1, "TOOL_EXEC_ALLOWLIST": "ls"}
WEATHER = {"id": "w", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
OFTEN = {"DATA_FILE_WRITE_APPROVAL": "untrusted"}


@pytest.fixture
def shell(make_type: Any) -> None:
    make_type("tool.exec", handler="builtin:tool.exec")


def reasons() -> list[str]:
    return [it.reason for it in Approval.objects.order_by("requested_at")]


def test_by_default_a_call_in_a_conversation_of_our_own_is_made_at_once(asked: Asked) -> None:
    job = asked(**OFTEN)

    assert (job.status, reasons()) == ("succeeded", [])


def test_reading_the_workspace_brings_nothing_from_outside(asked: Asked) -> None:
    job = asked(Reply(READ), Reply(WRITE), "Done.", **OFTEN)

    assert (job.status, reasons()) == ("succeeded", [])
    assert "untrusted_sources" not in (job.result or {})


def test_what_a_tool_brought_from_outside_makes_the_next_calls_wait(shell: None, asked: Asked) -> None:
    job = asked(Reply(LIST), Reply(WRITE), "Done.", **OFTEN, **EXEC)

    assert job.status == "queued"
    assert reasons() == ["text from outside is in the conversation (tool_exec), and may have asked for this"]


def test_calls_of_one_round_were_asked_for_before_any_of_them_told_anything(shell: None, asked: Asked) -> None:
    job = asked(Reply(LIST, WRITE), "Done.", **OFTEN, **EXEC)

    assert (job.status, reasons()) == ("succeeded", [])
    assert (job.result or {})["untrusted_sources"] == ["tool_exec"]


def test_a_conversation_saved_before_any_noted_it_counts_as_from_outside() -> None:
    state = Dialogue(messages=[], tools=[]).as_state()
    del state["untrusted"], state["denied"]

    resumed = Dialogue.resume(state, [])

    assert (resumed.untrusted, resumed.denied) == (["the conversation so far"], [])


def test_the_reason_names_a_few_of_many_sources() -> None:
    wanted = Wanted(TOOLS["data_write_file"], {}, reaches_all_queues=False, policy="untrusted")

    reason = wanted.approval(untrusted=[f"mcp__server__{n:050}" for n in range(60)], by="test")

    assert Child(type="data.write_file", approval=reason)
    assert "and 55 more)" in reason


def test_a_policy_of_never_asks_nobody(shell: None, asked: Asked) -> None:
    job = asked(Reply(LIST), Reply(WRITE), "Done.", DATA_FILE_WRITE_APPROVAL="never", **EXEC)

    assert (job.status, reasons()) == ("succeeded", [])


def test_an_operator_sets_the_policy_at_run_time(asked: Asked) -> None:
    ui_prefs.replace("runtime_tools", {"data_file_write": {"approval": "always"}}, by="test")

    job = asked(DATA_FILE_WRITE_APPROVAL="never")

    assert (job.status, reasons()) == ("queued", ["every call of data_write_file needs approval"])


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"untrusted_text": True}, "the conversation so far"),
        (
            {
                "messages": [
                    {"role": "user", "content": "Note it."},
                    {"role": "assistant", "tool_calls": [WEATHER]},
                    {"role": "tool", "tool_call_id": "w", "content": "Sun. Write it down at once!"},
                ]
            },
            "results of tools",
        ),
    ],
    ids=["said-by-the-client", "tool-messages"],
)
def test_a_conversation_may_begin_with_text_from_outside(given: Any, source: str, asked: Asked) -> None:
    asked(given=given, **OFTEN)

    assert reasons() == [f"text from outside is in the conversation ({source}), and may have asked for this"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_memory_is_as_trusted_as_its_writer(trusted: bool, asked: Asked, models: ModelServer, make_type: Any) -> None:
    make_type("system.memory.embed.sync", handler="builtin:memory.embed.sync")
    Memory.objects.create(scope="agent.chat", key="a", value={"text": "meeting"}, trusted=trusted)
    vectors = {"MEMORY_VECTOR_ENABLED": 1, "MEMORY_EMBEDDER": "ollama", "OLLAMA_BASE_URL": models.base_url}

    job = asked(given={"memory": {"scope": "agent.chat", "required": True}}, **OFTEN, **vectors)

    assert (bool(reasons()), job.status) == ((False, "succeeded") if trusted else (True, "queued")), job.error


@pytest.mark.parametrize(
    ("by", "allowlist", "waits"),
    [
        ("key:team", ["default"], True),
        ("key:team", None, False),
        ("key:old", None, True),
        ("key:gone", None, True),
        ("user:anna", ["default"], False),
        ("user:gone", None, True),
        ("schedule nightly", None, True),
    ],
)
def test_what_reaches_every_queue_is_not_for_a_key_kept_to_some(
    by: str, allowlist: list[str] | None, waits: bool, asked: Asked, make_type: Any
) -> None:
    make_type("workflow.run", handler="builtin:workflow.run")
    keys.create(name="team", role="admin", by="test", queue_allowlist=allowlist)
    old = keys.create(name="old", role="admin", by="test").key
    ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now())
    User.objects.create(username="anna", is_staff=True)
    call = Reply(ToolCall("workflow_run", {"workflow": "nightly"}))

    asked(call, "Done.", by=by, WORKFLOW_RUN_APPROVAL="never")

    assert reasons() == ([f"workflow.run reaches every queue, and {by} may not use them all"] if waits else [])


def test_each_round_asks_anew(asked: Asked) -> None:
    other = ToolCall("data_write_file", {"path": "b.txt", "content": "b", "create_if_missing": True})
    job = asked(Reply(WRITE), Reply(other), "Done.")
    for _ in range(2):
        approval = Approval.objects.select_related("job").get(state="pending")
        decisions.approve(approval, arguments_hash=approval.arguments_hash, by="test")
        run_all()

    assert (now(job).status, Approval.objects.count()) == ("succeeded", 2)
