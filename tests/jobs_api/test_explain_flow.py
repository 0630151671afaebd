"""What explain says of a job that a pause, a limit, a rate or a debounce window holds back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import dispatch, lifecycle
from jobs.flow import Flow, Unique
from jobs.models import Attempt, Job, JobType, Node, Queue
from jobs.sql import statement
from jobs.transitions import Claimable
from tests.apiclient import Api
from tests.conftest import NODE, WORKER
from tests.large_table import large_table

pytestmark = pytest.mark.django_db(transaction=True)

TYPE = "report.generate"
Make = Callable[..., Job]
MakeType = Callable[..., JobType]


@pytest.fixture(autouse=True)
def worker(db: None) -> Node:
    """Or every explanation would begin with its absence."""
    return Node.objects.create(
        kind=Node.Kind.WORKER, name="w", host="h", pid=1, pid_created_at=0, queues=["default", "other"], version="1",
        concurrency=2, seen_at=timezone.now(),
    )  # fmt: skip


@pytest.fixture
def explain(api: Api) -> Callable[[Job], list[Any]]:
    """The reasons for a job."""

    def ask(job: Job) -> list[Any]:
        answer = api.get(f"/v1/jobs/{job.id}/explain")
        assert answer.status == 200, answer.text
        return list(answer.json["reasons"])

    return ask


Explain = Callable[[Job], list[Any]]


def codes(reasons: list[Any]) -> list[str]:
    return [reason["code"] for reason in reasons]


def run(job: Job) -> None:
    job.refresh_from_db()
    assert lifecycle.claim(Claimable(job.id, job.fence, worker=WORKER, node=NODE, lease_sec=30))


def of_key(key: str) -> dict[str, Any]:
    return {"flow": Flow(concurrency_key=key)}


def test_a_paused_queue_is_the_reason_and_not_that_the_job_is_next(explain: Explain, make_job: Make) -> None:
    Queue.objects.create(name="default", paused=True)

    reasons = explain(make_job())

    assert codes(reasons) == ["QUEUE_PAUSED"]
    assert "POST /v1/queues/default/resume" in reasons[0]["remedy"]


def test_a_paused_type_is_the_reason(explain: Explain, make_job: Make, make_type: MakeType) -> None:
    make_type(paused=True)

    reasons = explain(make_job())

    assert codes(reasons) == ["JOB_TYPE_PAUSED"]
    assert "POST /v1/job-types/report.generate/resume" in reasons[0]["remedy"]


def test_a_full_queue_says_its_limit(explain: Explain, make_job: Make) -> None:
    Queue.objects.create(name="default", max_running=2)
    running, _, job = make_job(), make_job(), make_job()
    run(running)

    reasons = explain(job)

    assert codes(reasons) == ["QUEUE_LIMIT", "QUEUE_AHEAD"]
    assert reasons[0]["details"] == {"max_running": 2, "active": 2}


def test_a_full_type_says_its_limit_on_all_queues(explain: Explain, make_job: Make, make_type: MakeType) -> None:
    make_type(max_running=1)
    run(make_job(queue="other"))

    reasons = explain(make_job())

    assert codes(reasons) == ["JOB_TYPE_LIMIT"]
    assert reasons[0]["details"] == {"max_running": 1, "active": 1}


def test_a_full_key_names_at_most_five_that_hold_it(explain: Explain, make_job: Make, make_type: MakeType) -> None:
    make_type(max_running_per_key=6)
    holders = [make_job(**of_key("k")) for _ in range(6)]
    run(holders[1])
    make_job(**of_key("another"))

    (reason, *_) = explain(make_job(**of_key("k")))

    first, *others = reason["details"]["holders"]
    assert reason["code"] == "KEY_LIMIT"
    assert first == str(holders[1].id)
    assert len(others) == 4
    assert {*others} < {str(job.id) for job in holders}
    assert (reason["details"]["concurrency_key"], reason["details"]["active"]) == ("k", 6)


def test_a_used_up_rate_says_when_the_next_may_begin(explain: Explain, make_job: Make, make_type: MakeType) -> None:
    make_type(rate_limit=2, rate_period_sec=600)
    for minutes_ago in (8, 3):
        run(done := make_job())
        began = timezone.now() - timedelta(minutes=minutes_ago)
        Attempt.objects.filter(job=done).update(started_at=began)

    (reason,) = explain(make_job())

    assert reason["code"] == "RATE_LIMIT"
    assert (reason["details"]["begun"], reason["details"]["about_to_begin"]) == (2, 0)
    wait = datetime.fromisoformat(reason["details"]["next_at"]) - timezone.now()
    assert timedelta(seconds=100) < wait <= timedelta(seconds=120)


def test_a_rate_used_up_by_jobs_about_to_begin_does_not_know_when(
    explain: Explain, make_job: Make, make_type: MakeType
) -> None:
    make_type(rate_limit=1, rate_per_key=True)
    make_job(**of_key("k"))
    make_job(**of_key("another"))

    (reason, *_) = explain(make_job(**of_key("k")))

    assert reason["code"] == "RATE_LIMIT"
    assert reason["details"] == {
        "limit": 1, "period_sec": 60, "begun": 0, "about_to_begin": 1, "next_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "rule", [{"max_running": 9}, {"max_running_per_key": 9}, {"rate_limit": 9}], ids=["type", "key", "rate"]
)
def test_a_limit_with_room_is_no_reason(
    explain: Explain, make_job: Make, make_type: MakeType, rule: dict[str, int]
) -> None:
    make_type(**rule)
    Queue.objects.create(name="default", max_running=9)

    assert codes(explain(make_job(**of_key("k")))) == ["PUBLISHED_WAITING_FOR_SLOT"]


def test_explain_and_the_filler_agree(explain: Explain, make_job: Make, make_type: MakeType) -> None:
    """What explain calls held is not published, whatever the limits; what is not held, is."""
    make_type(max_running=6, max_running_per_key=2, rate_limit=5)
    jobs = [make_job(**of_key("abc"[n % 3])) for n in range(12)]
    dispatch.fill("default", "process")

    held = {"JOB_TYPE_LIMIT", "KEY_LIMIT", "RATE_LIMIT"}
    told = {job.id for job in jobs if held & {*codes(explain(job))}}

    assert told == {*Job.objects.filter(published_at=None).values_list("pk", flat=True)}
    assert len(told) == 7


def test_a_debounced_job_says_until_when(explain: Explain, make_job: Make) -> None:
    job = make_job(flow=Flow(unique=Unique("u", 300, "replace")))

    (reason,) = explain(job)

    assert reason["code"] == "DEBOUNCED"
    until = datetime.fromisoformat(reason["details"]["until"])
    assert abs(until - job.available_at) < timedelta(milliseconds=1)


def test_a_retry_of_a_debounced_job_is_a_retry(explain: Explain, make_job: Make) -> None:
    job = make_job(flow=Flow(unique=Unique("u", 300, "keep")), max_attempts=2)
    run(job)
    lifecycle.fail(job.id, 1, code=None, message="no", retry=True, retry_in_sec=60)

    assert codes(explain(job))[0] == "RETRY_DUE_AT"


def test_a_job_that_expires_says_when_until_it_has_begun(explain: Explain, make_job: Make) -> None:
    job = make_job(flow=Flow(expires_in_sec=600), max_attempts=2)

    assert all(reason["details"]["expires_at"].endswith("Z") for reason in explain(job))

    run(job)
    lifecycle.fail(job.id, 1, code=None, message="no", retry=True, retry_in_sec=60)
    assert "expires_at" not in explain(job)[0]["details"]


def test_a_key_that_had_its_turns_says_which_one_this_is(explain: Explain, make_job: Make) -> None:
    jobs = [make_job(**of_key("big")) for _ in range(4)]
    run(jobs[0])
    Job.objects.filter(pk__in=[job.pk for job in jobs[2:]]).update(published_at=None)

    (reason,) = explain(jobs[3])

    assert (reason["code"], reason["details"]["turn"]) == ("QUEUE_AHEAD", 4)
    assert "Keys take turns" in reason["message"]


def test_the_state_of_a_queue_never_scans_the_table(make_job: Make) -> None:
    make_job()
    with large_table() as cursor:
        cursor.execute(
            "EXPLAIN " + statement("queue_state"),
            {
                "id": uuid.uuid4(),
                "queue": "default",
                "pool": "process",
                "type": TYPE,
                "key": "k",
                "turn_at": timezone.now(),
                "most": 9,
            },
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "Seq Scan on jobs_job " not in plan
