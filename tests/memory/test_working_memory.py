"""Working memory over HTTP (contract 2.9), and as text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from memory import store, working
from memory.models import Session
from tests.apiclient import READER, Api
from tests.memory.conftest import let_pass

pytestmark = pytest.mark.django_db(transaction=True)

STATE = {
    "current_goal": "Ship it",
    "active_tasks": [
        {
            "id": "1", "description": "Write notes", "status": "in_progress",
            "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z",
        }
    ],
    "completed_steps": ["one", "two"],
    "blockers": [{"description": "No key", "severity": "high", "created_at": "2026-01-01T00:00:00.000Z"}],
    "open_questions": ["Who?"],
    "context_summary": "A release.",
}  # fmt: skip
EMPTY: dict[str, Any] = {
    "current_goal": None, "active_tasks": [], "completed_steps": [], "blockers": [], "open_questions": [],
    "context_summary": None,
}  # fmt: skip


def test_a_state_is_saved_whole_and_read(api: Api) -> None:
    answer = api.post("/v1/working-memory", {"session_id": "session.abc.def", "state": STATE})

    at = answer.json["updated_at"]
    state = {"session_id": "session.abc.def", **STATE, "updated_at": at}
    assert (answer.status, answer.json) == (
        201, {"ok": True, "session_id": "session.abc.def", "updated_at": at, "state": state},
    )  # fmt: skip
    assert api.get("/v1/working-memory?session_id=session.abc.def").json == {"ok": True, "state": state}
    assert api.get("/v1/working-memory/latest").json == {"ok": True, "state": state}

    replaced = api.post("/v1/working-memory", {"session_id": "session.abc.def", "state": {"current_goal": "Rest"}})
    kept = {name: value for name, value in replaced.json["state"].items() if name in EMPTY}
    assert kept == {**EMPTY, "current_goal": "Rest"}


def test_a_session_without_an_id_gets_one(api: Api) -> None:
    answer = api.post("/v1/working-memory", {})

    assert re.fullmatch(r"session\.[0-9a-z]{8,9}\.[0-9a-f]{8}", answer.json["session_id"])
    assert answer.json["state"] == {
        "session_id": answer.json["session_id"], **EMPTY, "updated_at": answer.json["updated_at"],
    }  # fmt: skip
    assert api.post("/v1/working-memory", {"state": "nothing"}).status == 201


def test_all_sessions_are_listed_newest_first(api: Api) -> None:
    ids = ["session.a", "session.a.b", "session.x-1.y_2"]
    for session_id in ids:
        api.post("/v1/working-memory", {"session_id": session_id})

    listed = api.get("/v1/working-memory").json

    assert (listed["count"], [it["session_id"] for it in listed["sessions"]]) == (3, ids[::-1])
    assert list(listed["sessions"][0]) == ["session_id", "updated_at"]
    assert api.get("/v1/working-memory?limit=2").json["count"] == 2


def test_like_named_sessions_are_kept_apart(api: Api) -> None:
    for session_id in ("session.a_b", "session.axb", "session.a_b.c"):
        api.post("/v1/working-memory", {"session_id": session_id, "state": {"current_goal": session_id}})

    assert api("DELETE", "/v1/working-memory?session_id=session.a_b").json["deleted_entries"] == 7

    assert sorted(Session.objects.values_list("pk", flat=True)) == ["session.a_b.c", "session.axb"]


def test_nothing_saved_is_told_kindly(api: Api) -> None:
    latest = api.get("/v1/working-memory/latest")

    assert (latest.status, latest.json["state"]) == (200, None)
    assert latest.json["message"]
    assert api.get("/v1/working-memory?session_id=session.none").code == "NOT_FOUND"
    cleared = api("DELETE", "/v1/working-memory?session_id=session.none")
    assert cleared.json == {"ok": True, "session_id": "session.none", "deleted_entries": 0}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"session_id": "abc"}, "session_id"), ({"session_id": "session."}, "session_id"),
        ({"session_id": "session." + "a" * 200}, "session_id"), ({"session_id": 5}, "session_id"),
        ({"ttl_sec": 59}, "ttl_sec"), ({"ttl_sec": 604_801}, "ttl_sec"), ({"ttl_sec": "60"}, "ttl_sec"),
        ({"state": {"active_tasks": {}}}, "state.active_tasks"),
        ({"state": {"active_tasks": [{"status": "lost"}]}}, "state.active_tasks.0.status"),
        ({"state": {"completed_steps": [1]}}, "state.completed_steps.0"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_field_is_named(api: Api, body: dict[str, Any], path: str) -> None:
    answer = api.post("/v1/working-memory", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["path"] == path


def test_what_to_forget_must_be_said_and_by_an_admin(api: Api) -> None:
    assert api("DELETE", "/v1/working-memory").code == "VALIDATION_ERROR"
    assert api("DELETE", "/v1/working-memory?session_id=session.a", key=READER).code == "FORBIDDEN"
    assert api.post("/v1/working-memory", {}, key=READER).code == "FORBIDDEN"


def test_a_session_expires_and_is_purged(api: Api) -> None:
    api.post("/v1/working-memory", {"session_id": "session.a", "ttl_sec": 60})
    let_pass(61)

    assert api.get("/v1/working-memory?session_id=session.a").code == "NOT_FOUND"
    assert api.get("/v1/working-memory").json["sessions"] == []
    assert api.get("/v1/working-memory/latest").json["state"] is None
    assert store.purge() == 1


def test_what_is_left_out_of_a_task_is_filled_in(api: Api) -> None:
    state = api.post("/v1/working-memory", {"state": {"active_tasks": [{"description": "x", "id": None}]}}).json[
        "state"
    ]

    (task,) = state["active_tasks"]
    assert (task["description"], task["status"]) == ("x", "pending")
    assert task["id"]
    assert task["created_at"].endswith("Z")


def test_it_is_rendered_for_a_prompt(api: Api) -> None:
    steps = [f"step {number}" for number in range(9)]
    questions = [f"question {number}" for number in range(9)]
    state = {**STATE, "completed_steps": steps, "open_questions": questions}
    api.post("/v1/working-memory", {"session_id": "session.a", "state": state})

    assert working.as_text(working.session("session.a")).splitlines() == [
        "Working memory of session.a:", "Goal: Ship it", "Tasks:", "- [in_progress] Write notes", "Last steps:",
        *(f"- {step}" for step in steps[-5:]), "Blockers:", "- [high] No key", "Open questions:",
        *(f"- {question}" for question in questions[:3]), "Summary: A release.",
    ]  # fmt: skip
