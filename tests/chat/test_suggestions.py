"""Jobs that answers suggest: found, approved, run, and told of (contract 14.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from access.models import AuditEntry
from chat.models import Suggestion
from chat.suggesting import Policy, find, without_suggestions
from jobs import intents
from jobs.models import Job
from tests.chat.conftest import Chat
from tests.jobs.test_groups import run_all

ENABLED = {"report.generate", "tools.file_search", "tools.web_search", "tools.find_in_files", "tool.exec", "data.fetch",
           "ai.chat.generate"}  # fmt: skip
CHAT = "ai.chat.generate"


def fence(*jobs: dict[str, Any], around: str = "Here you are.\n{}\nSay if not.") -> str:
    return around.format("```rausku_jobs\n" + json.dumps({"jobs": list(jobs)}) + "\n```")


def report(title: str = "x", **fields: Any) -> dict[str, Any]:
    return {"type": "report.generate", "input": {"title": title}, "timeout_sec": 20, **fields}


def types(answer: str, asked: str = "", enabled: set[str] = ENABLED) -> list[str]:
    return [it.fields["type"] for it in find(answer, enabled=enabled, chat_type=CHAT, asked=asked).suggestions]


@pytest.mark.parametrize(
    "answer",
    [
        fence(report()),
        "```rausku_jobs\n" + json.dumps({"jobs": [report()]}) + " and so on",
        "I would run " + json.dumps({"note": "}", "jobs": [report()]}) + " then.",
        '```rausku_jobs\n{"jobs": [oops]}\n```\nI mean {"jobs": [{"type": "report.generate"}]}.',
    ],
)
def test_suggestions_are_found_where_models_put_them(answer: str) -> None:
    assert types(answer) == ["report.generate"]


@pytest.mark.parametrize(
    "answer", ["", "No jobs.", '{"jobs": 1}', "```rausku_jobs\n[]\n```", '"jobs": [', "{" * 100_000]
)
def test_answers_without_any_have_none(answer: str) -> None:
    assert types(answer) == []


def test_fields_are_brought_into_bounds() -> None:
    found = find(
        fence(
            {"type": " shell.exec ", "queue": "no spaces", "priority": 99, "timeout_sec": 0, "max_attempts": "3",
             "tags": [" a ", 1, ""], "input": "ls"},
            {"type": "file.search", "queue": " gpu ", "priority": 0, "timeout_sec": 9_999, "input": {"pattern": "*"}},
            {"input": {}}, {"type": "no.such.type"},
        ),
        enabled=ENABLED, chat_type=CHAT, asked="",
    )  # fmt: skip

    assert [it.fields for it in found.suggestions] == [
        {"type": "tool.exec", "queue": "default", "input": {}, "priority": 10, "timeout_sec": 1, "max_attempts": 1,
         "tags": ["a"]},
        {"type": "tools.file_search", "queue": "gpu", "input": {"pattern": "*", "query": "*"}, "priority": 5,
         "timeout_sec": 3600, "max_attempts": 1, "tags": ["chat"]},
    ]  # fmt: skip
    assert found.dropped == 2


def test_a_chat_job_is_of_a_type_that_there_is() -> None:
    asks = fence({"type": "other.chat.generate", "input": {"prompt": "What is the weather like?"}})

    assert types(asks) == [CHAT]
    assert types(asks, enabled={"codex.chat.generate"}) == ["codex.chat.generate"]
    assert types(asks, enabled={"a.chat.generate", "b.chat.generate", "codex.chat.generate"}) == ["codex.chat.generate"]
    assert types(asks, enabled={"report.generate"}) == []


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("what is the Weather like?!", False),
        ("tell me what the weather is like", False),
        ("Summarise the release notes", True),
    ],
)
def test_a_job_that_asks_the_same_again_is_left_out(asked: str, kept: bool) -> None:
    by_prompt = fence({"type": CHAT, "input": {"prompt": "What is the weather like?"}})
    by_messages = fence(
        {"type": CHAT, "input": {"messages": [{"role": "user", "content": "What is the weather like?"}]}}
    )

    assert types(by_prompt, asked) == types(by_messages, asked) == ([CHAT] if kept else [])


def test_the_policy_says_why_it_asks() -> None:
    fields = {"type": "tool.exec", "timeout_sec": 120, "max_attempts": 2, "priority": 7}

    assert Policy().reasons(fields) == [
        "timeout 120s > 30s", "attempts 2 > 1", "priority 7 > 5", "type 'tool.exec' not in auto allowlist",
    ]  # fmt: skip
    assert Policy(mode="always").reasons({**fields, "timeout_sec": 1}) == ["policy mode: always require approval"]
    assert Policy(mode="never").reasons(fields) == []
    small = {"type": "tool.exec", "timeout_sec": 30, "max_attempts": 1, "priority": 5}
    assert Policy(allow_types=()).reasons(small) == []


def test_the_shown_text_is_without_them() -> None:
    assert without_suggestions(fence(report())) == "Here you are.\n\nSay if not."
    assert without_suggestions("Plain.") == "Plain."
    assert without_suggestions("Cut: ```rausku_jobs\n{") == "Cut:"


def states(message: dict[str, Any]) -> list[str]:
    return [it["state"] for it in message["suggestions"]]


def test_small_jobs_run_by_themselves_and_their_results_come_back(chat: Chat) -> None:
    answer = chat.say("Report, please.", fence(report("Weekly")))
    assert states(answer) == ["running"]
    assert answer["suggestions"][0]["decided_by"] == "policy"
    chat.work()

    done = chat.message(answer["id"])["suggestions"][0]
    assert (done["state"], done["job_status"]) == ("done", "succeeded")
    roles = [it["role"] for it in chat.messages()]
    assert roles == ["user", "assistant", "results"]
    told = chat.messages()[2]["text"]
    assert told.startswith(f"1. report.generate (job {done['job_id']}): succeeded\n")
    assert "Weekly" in told


def test_what_needs_approval_waits_for_it(chat: Chat) -> None:
    answer = chat.say("Go.", fence(report("a", timeout_sec=600), report("b", timeout_sec=600), report("c", priority=9)))
    assert states(answer) == ["suggested"] * 3
    assert answer["suggestions"][0]["reasons"] == ["timeout 600s > 30s"]
    first, second, _ = (it["id"] for it in answer["suggestions"])

    decided = chat.decide(answer, approve=[first], dismiss=[second])

    assert decided.status == 200
    assert states(decided.json["message"]) == ["running", "dismissed", "suggested"]
    assert Job.objects.filter(type="report.generate").count() == 1
    assert chat.decide(answer, approve=[first]).code == "CONFLICT"
    assert chat.decide(answer, approve=[str(Suggestion().id)]).code == "NOT_FOUND"
    assert chat.decide(answer).code == "VALIDATION_ERROR"
    assert states(chat.decide(answer, approve="all").json["message"]) == ["running", "dismissed", "running"]
    assert sorted(AuditEntry.objects.values_list("action", flat=True)) == [
        "suggestion.approved", "suggestion.approved", "suggestion.dismissed",
    ]  # fmt: skip
    chat.work()
    assert chat.messages()[-1]["text"].count("succeeded") == 2


def test_an_approved_job_waits_for_one_that_is_not(chat: Chat) -> None:
    after = {"depends_on_idx": [1], "title": "after"}
    answer = chat.say("Go.", fence(report("first", timeout_sec=600), report(input=after)))
    assert states(answer) == ["suggested", "approved"]

    decided = chat.decide(answer, approve=[answer["suggestions"][0]["id"]]).json["message"]

    first, second = decided["suggestions"]
    assert states(decided) == ["running", "running"]
    assert Job.objects.get(pk=second["job_id"]).input == {"title": "after", "depends_on": [first["job_id"]]}


def test_what_depends_on_a_dismissed_job_is_dismissed(chat: Chat) -> None:
    answer = chat.say("Go.", fence(report("first", timeout_sec=600), report(input={"depends_on_last_job": True})))

    decided = chat.decide(answer, dismiss=[answer["suggestions"][0]["id"]]).json["message"]

    assert states(decided) == ["dismissed", "dismissed"]
    assert decided["suggestions"][1]["problem"]["code"] == "DEPENDENCY_BLOCKED"


def test_a_job_that_cannot_be_made_waits_with_its_reason(chat: Chat) -> None:
    chat.set(suggestions={"mode": "never"})

    answer = chat.say("Go.", fence({"type": "workflow.run", "input": {}}))

    assert states(answer) == ["suggested"]
    assert answer["suggestions"][0]["problem"]["code"] == "VALIDATION_ERROR"
    assert "workflow.run requires input.workflow" in answer["suggestions"][0]["problem"]["message"]


def test_a_failed_job_is_told_by_its_code(chat: Chat) -> None:
    chat.set(suggestions={"mode": "never"})
    chat.say("Go.", fence({"type": "data.file_read", "input": {"path": "missing.txt"}}))
    chat.work()

    assert "data.file_read" in chat.messages()[-1]["text"]
    assert "WORKSPACE_NOT_FOUND" in chat.messages()[-1]["text"] or "failed\n" in chat.messages()[-1]["text"]


def test_once_results_are_in_the_conversation_every_job_needs_approval(chat: Chat) -> None:
    chat.say("Report.", fence(report()))
    chat.work()

    answer = chat.say("Again.", fence(report()))

    assert states(answer) == ["suggested"]
    assert "nobody vouches for" in answer["suggestions"][0]["reasons"][0]


def test_the_model_goes_on_with_results_where_it_may_and_not_for_ever(chat: Chat) -> None:
    chat.set(answer_results=True, suggestions={"mode": "never"})
    chat.models.answer(*[fence(report(str(n))) for n in range(10)])
    chat.post("Go.")
    chat.work()

    roles = [it["role"] for it in chat.messages()]
    assert roles == ["user", *["assistant", "results"] * 4]
    assert len(chat.models.calls) == 4


def test_the_key_that_asked_decides_what_may_run_by_itself(chat: Chat, configure: Any) -> None:
    chat.models.answer(fence(report()))
    said = chat.post("Go.")
    run_all()
    configure(API_KEYS_JSON=json.dumps([{"key": "another-key-0123456789", "name": "other"}]))

    answer = chat.api.get(f"/v1/chat/messages/{said['answer']['id']}", key="another-key-0123456789").json["message"]

    assert states(answer) == ["suggested"]


def test_positions_count_what_was_left_out() -> None:
    assert intents.positions_needed({"depends_on_idx": [1, 3], "depends_on_last_job": "true"}, 3) == [2, 0, 2]
    assert intents.positions_needed({}, 3) == []
