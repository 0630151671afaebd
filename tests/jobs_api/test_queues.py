"""Queues over HTTP: how busy they are, and pauses and limits that act at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.models import AuditEntry
from jobs import queries
from jobs.lifecycle import claim
from jobs.models import Job, JobType, Node, Queue
from jobs.reconciler import reconcile
from jobs.sql import statement
from jobs.transitions import Claimable
from tests.apiclient import GPU_ONLY, READER, Api
from tests.conftest import NODE, WORKER
from tests.large_table import large_table

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Job]


def published() -> set[uuid.UUID]:
    return set(Job.objects.exclude(published_at=None).values_list("pk", flat=True))


def names(answer: Any) -> list[str]:
    assert answer.status == 200, answer.text
    return [queue["name"] for queue in answer.json["queues"]]


def make_worker(*queues: str, concurrency: int = 2, silent_sec: float = 0) -> None:
    Node.objects.create(
        kind=Node.Kind.WORKER, name="w", host="h", pid=1, pid_created_at=0, queues=list(queues), version="1",
        concurrency=concurrency, seen_at=timezone.now() - timedelta(seconds=silent_sec),
    )  # fmt: skip


def test_queues_are_those_of_jobs_live_workers_and_settings(api: Api, make_job: Make) -> None:
    make_job(queue="used")
    make_worker("served", "used")
    make_worker("silent", silent_sec=60)
    Queue.objects.create(name="set", paused=True)

    answer = api.get("/v1/queues")

    assert names(answer) == ["served", "set", "used"]
    assert [queue["paused"] for queue in answer.json["queues"]] == [False, True, False]
    assert answer.json["count"] == 3


def test_a_queue_tells_how_busy_it_is(api: Api, make_job: Make) -> None:
    make_worker("default")
    make_worker("default", "other", concurrency=3)
    running, in_window, *waiting, later = [make_job() for _ in range(6)]
    claim(Claimable(running.id, 0, worker=WORKER, node=NODE, lease_sec=30))
    Job.objects.filter(pk__in=[job.pk for job in (*waiting, later)]).update(published_at=None)
    Job.objects.filter(pk=waiting[0].pk).update(available_at=timezone.now() - timedelta(minutes=5))
    Job.objects.filter(pk=later.pk).update(available_at=timezone.now() + timedelta(hours=1))
    make_job(input={"depends_on": [str(in_window.id)]})

    queue = api.get("/v1/queues/default").json["queue"]

    assert 300 <= queue.pop("oldest_waiting_sec") < 400
    assert queue == {
        "name": "default", "paused": False, "max_running": None, "waiting": 3, "due_later": 1, "more_waiting": False,
        "in_window": 1, "running": 1, "workers": 2, "slots": 5,
    }  # fmt: skip


def test_counting_what_waits_stops_at_its_bound_and_says_so(
    api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "COUNTED_JOBS", 2)
    Queue.objects.create(name="default", paused=True)
    for _ in range(3):
        make_job()

    queue = api.get("/v1/queues/default").json["queue"]

    assert (queue["waiting"], queue["more_waiting"]) == (2, True)


def test_counting_queues_never_scans_the_table(make_job: Make) -> None:
    make_job()
    with large_table() as cursor:
        plans = ""
        statements: dict[str, dict[str, Any]] = {
            "queue_overview": {"names": None, "served": ["default"], "most": 10},
            "withdraw": {"queue": "default", "type": None, "paused": True},
            "queues_in_window": {"type": "report.generate"},
        }
        for name, params in statements.items():
            cursor.execute("EXPLAIN " + statement(name), params)
            plans += "\n".join(row[0] for row in cursor.fetchall())

    assert "Seq Scan on jobs_job " not in plans


def test_a_key_sees_and_changes_its_queues_only(api: Api, make_job: Make) -> None:
    make_job(queue="gpu")
    make_job(queue="cpu")

    assert names(api.get("/v1/queues", key=GPU_ONLY)) == ["gpu"]
    assert api.get("/v1/queues/gpu", key=GPU_ONLY).status == 200
    for method, path, body in (
        ("GET", "/v1/queues/cpu", None),
        ("PATCH", "/v1/queues/cpu", {"paused": True}),
        ("POST", "/v1/queues/cpu/pause", None),
        ("POST", "/v1/queues/cpu/resume", None),
    ):
        answer = api(method, path, body, key=GPU_ONLY)
        assert (answer.code, answer.json["error"]["details"]) == ("FORBIDDEN", {"allowed_queues": ["gpu"]})
    assert not Queue.objects.exists()


def test_a_reader_looks_and_changes_nothing(api: Api, make_job: Make) -> None:
    make_job()

    assert names(api.get("/v1/queues", key=READER)) == ["default"]
    assert api.patch("/v1/queues/default", {"paused": True}, key=READER).code == "FORBIDDEN"
    assert api.post("/v1/queues/default/pause", key=READER).code == "FORBIDDEN"


@pytest.mark.parametrize("name", ["nobody.uses.it", "no queue", "q" * 81])
def test_a_queue_that_nothing_names_is_not_found(api: Api, name: str) -> None:
    assert api.get(f"/v1/queues/{name}").code == "NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"paused": "yes"}, "paused"),
        ({"paused": None}, "paused"),
        ({"paused": 1}, "paused"),
        ({"max_running": 0}, "max_running"),
        ({"max_running": 1.5}, "max_running"),
        ({"max_running": "4"}, "max_running"),
        ({"max_running": True}, "max_running"),
        ({"max_running": 10**9}, "max_running"),
        ({"paused": True, "name": "other"}, "name"),
    ],
)
def test_a_bad_field_is_named_and_nothing_changes(api: Api, body: dict[str, Any], path: str) -> None:
    answer = api.patch("/v1/queues/default", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [fault["path"] for fault in answer.json["error"]["details"]["errors"]] == [path]
    assert not Queue.objects.exists()


@pytest.mark.parametrize("body", [{}, []])
def test_a_change_of_nothing_is_refused(api: Api, body: Any) -> None:
    assert api.patch("/v1/queues/default", body).code == "VALIDATION_ERROR"


def test_a_change_is_recorded_once_with_old_and_new(api: Api) -> None:
    answer = api.patch("/v1/queues/gpu:a100", {"paused": True, "max_running": 4.0})
    api.patch("/v1/queues/gpu:a100", {"paused": True})

    assert (answer.json["queue"]["paused"], answer.json["queue"]["max_running"]) == (True, 4)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.object_id) == ("key:ci", "queue.updated", "gpu:a100")
    assert entry.details == {"paused": [False, True], "max_running": [None, 4]}


def test_a_limit_can_be_taken_away(api: Api) -> None:
    Queue.objects.create(name="default", max_running=3)

    assert api.patch("/v1/queues/default", {"max_running": None}).json["queue"]["max_running"] is None


def test_a_pause_takes_back_what_none_has_begun_and_a_resume_hands_it_out(api: Api, make_job: Make) -> None:
    running, first, second = [make_job() for _ in range(3)]
    other = make_job(queue="other")
    assert claim(Claimable(running.id, 0, worker=WORKER, node=NODE, lease_sec=30))

    assert api.post("/v1/queues/default/pause").json["queue"]["waiting"] == 2

    assert published() == {other.id}
    assert claim(Claimable(first.id, 0, worker=WORKER, node=NODE, lease_sec=30)) is None
    running.refresh_from_db()
    assert running.status == "running"

    queue = api.post("/v1/queues/default/resume").json["queue"]
    assert (queue["paused"], queue["waiting"], queue["in_window"]) == (False, 0, 2)
    assert published() == {first.id, second.id, other.id}
    assert claim(Claimable(first.id, 0, worker=WORKER, node=NODE, lease_sec=30))


def test_a_lower_limit_acts_on_what_is_published(api: Api, make_job: Make) -> None:
    for _ in range(5):
        make_job()
    assert len(published()) == 5

    api.patch("/v1/queues/default", {"max_running": 2})
    assert len(published()) == 2

    api.patch("/v1/queues/default", {"max_running": None})
    assert len(published()) == 5


def test_what_a_race_published_in_a_paused_queue_is_taken_back_by_the_reconciler(make_job: Make) -> None:
    make_job(queue="paused")
    make_job("deploy.run")
    kept = make_job()
    Queue.objects.create(name="paused", paused=True)
    JobType.objects.filter(name="deploy.run").update(paused=True)

    reconcile()

    assert published() == {kept.id}


@pytest.mark.parametrize("switch", ["verb", "patch"])
def test_pausing_a_type_acts_on_all_queues_and_on_no_other_type(api: Api, make_job: Make, switch: str) -> None:
    held = {make_job("deploy.run", queue=queue).id for queue in ("default", "gpu")}
    kept = make_job().id

    def pause(*, paused: bool) -> Any:
        if switch == "patch":
            return api.patch("/v1/job-types/deploy.run", {"paused": paused})
        return api.post(f"/v1/job-types/deploy.run/{'pause' if paused else 'resume'}")

    assert pause(paused=True).json["type"]["paused"] is True
    assert published() == {kept}
    assert pause(paused=False).json["type"]["paused"] is False
    assert published() == {kept, *held}
    assert [entry.details for entry in AuditEntry.objects.order_by("id")] == [
        {"paused": [False, True]}, {"paused": [True, False]},
    ]  # fmt: skip


def test_a_type_that_is_not_there_cannot_be_paused(api: Api) -> None:
    assert api.post("/v1/job-types/no.such/pause").code == "NOT_FOUND"
    assert api.post("/v1/job-types/no.such/pause", key=READER).code == "FORBIDDEN"
