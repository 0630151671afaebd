"""`manage.py queues`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from access.models import AuditEntry
from jobs.models import Job, Node, Queue
from tests.operations.conftest import Manage


def test_list_shows_every_queue_and_how_busy_it_is(
    manage: Manage, make_job: Callable[..., Job], live_stack: Node
) -> None:
    make_job(queue="gpu")
    Queue.objects.create(name="set", paused=True, max_running=3)

    text, facts = manage("queues", "list").out, manage("queues", "list", "--json").json

    shown = {it["name"]: it for it in facts["queues"]}
    assert [*shown] == ["default", "gpu", "set"]
    assert (shown["default"]["workers"], shown["default"]["slots"]) == (1, 2)
    assert (shown["gpu"]["in_window"], shown["gpu"]["workers"]) == (1, 0)
    line = next(line for line in text.splitlines() if line.startswith("set"))
    assert line.split()[:3] == ["set", "paused", "3"]


def test_there_are_no_queues_at_first(manage: Manage, db: None) -> None:
    assert manage("queues", "list").out.strip() == "No queues yet."


def test_pause_and_resume_are_recorded(manage: Manage, db: None) -> None:
    manage("queues", "pause", "gpu", "cpu")
    ran = manage("queues", "resume", "gpu", "--json")

    assert [(it["name"], it["paused"]) for it in ran.json["queues"]] == [("gpu", False)]
    assert list(Queue.objects.order_by("name").values_list("name", "paused")) == [("cpu", True), ("gpu", False)]
    assert AuditEntry.objects.filter(action="queue.updated", actor__startswith="cli:").count() == 3


def test_a_limit_is_set_and_taken_away(manage: Manage, db: None) -> None:
    assert manage("queues", "limit", "gpu", "4", "--json").json["queues"][0]["max_running"] == 4
    assert manage("queues", "limit", "gpu", "none", "--json").json["queues"][0]["max_running"] is None


@pytest.mark.parametrize(
    "arguments", [("limit", "gpu", "0"), ("limit", "gpu", "many"), ("limit", "gpu", "-1"), ("pause", "gpu", "no queue")]
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    manage: Manage, db: None, arguments: tuple[str, ...]
) -> None:
    ran = manage("queues", *arguments, "--json")

    assert (ran.code, ran.json["error"]["code"]) == (2, "VALIDATION_ERROR")
    assert not Queue.objects.exists()
