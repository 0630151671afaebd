"""One attempt after the other in one process: the end of each goes with the claim of the next."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs import attempts, execution, lifecycle
from jobs.handlers.base import Child, JobContext
from jobs.models import Attempt, Job, JobLog, Status
from jobs.slots import Slots
from jobs.sql import rows, rows_together
from jobs.transitions import Claim, Claimable, Finish, claim_params, end_params
from tests.conftest import WORKER
from tests.jobs.bundles import ByName, Make, Nothing, lose_connection, maker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def make(make_type: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A job, and what its handler does."""
    return maker(ByName, make_type, make_job, monkeypatch)


def chain(*jobs: Job, slots: Slots | None = None) -> list[str]:
    """Run them in one chain. Returns what they are then."""
    execution.run_attempts([[wanted(job)] for job in jobs], slots=slots)
    return [Job.objects.get(pk=job.pk).status for job in jobs]


def wanted(job: Job) -> Claimable:
    return Claimable(job.id, job.fence, WORKER, None)


def transactions(*messages: str) -> list[int]:
    """The transactions that wrote these log lines, in the order of the lines."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xmin::text::bigint FROM jobs_joblog WHERE message = ANY (%s) ORDER BY id", [list(messages)]
        )
        return [row[0] for row in cursor.fetchall()]


def test_each_end_and_the_next_claim_are_one_transaction(make: Make) -> None:
    jobs = [make() for _ in range(3)]

    with CaptureQueriesContext(connection) as context:
        assert chain(*jobs) == ["succeeded"] * 3

    first_claim, end_1, claim_2, end_2, claim_3, last_end = transactions("Job claimed", "Job succeeded")
    assert (end_1, end_2) == (claim_2, claim_3)
    assert len({first_claim, end_1, end_2, last_end}) == 4
    statements = [query["sql"] for query in context.captured_queries]
    assert len([text for text in statements if "jobs_attempt" in text]) == 6
    assert "BEGIN" not in statements


def test_the_next_one_is_asked_for_when_the_handler_has_returned(make: Make) -> None:
    seen: list[str] = []
    jobs = [make(lambda _: seen.append("first runs")), make(lambda _: seen.append("second runs"))]

    def messages() -> Iterator[list[Claimable]]:
        for job in jobs:
            seen.append("asked")
            yield [wanted(job)]

    execution.run_attempts(messages())

    assert seen == ["asked", "first runs", "asked", "second runs"]


def test_an_attempt_is_seen_in_its_slot_before_it_is_claimed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [make(), make()]
    slots = Slots(1)
    slots.join()
    real, held = attempts.turn_over, []

    def look(*args: Any) -> Any:
        held.extend(slots.held())
        return real(*args)

    monkeypatch.setattr(attempts, "turn_over", look)

    assert chain(*jobs, slots=slots) == ["succeeded"] * 2
    assert [(it.job_id, it.number) for it in held] == [(jobs[1].id, 1)]
    assert slots.held() == []


@pytest.mark.parametrize("how", ["cancelled", "claimed by another", "gone"])
def test_one_that_is_not_to_be_had_stops_nobody(make: Make, how: str) -> None:
    first, second, third = make(), make(), make()
    if how == "cancelled":
        lifecycle.cancel(second.id, by="test")
    elif how == "claimed by another":
        lifecycle.claim(Claimable(second.id, 0, "other", None))
    else:
        second = Job(id=uuid.uuid4(), fence=0)

    execution.run_attempts([[wanted(first)], [wanted(second)], [wanted(third)]])

    assert [Job.objects.get(pk=job.pk).status for job in (first, third)] == ["succeeded"] * 2
    assert not Attempt.objects.filter(job=second.id, worker=WORKER).exists()


def test_the_end_of_a_stale_attempt_changes_nothing_and_the_next_one_runs(make: Make) -> None:
    def lose(ctx: JobContext[Any]) -> Nothing:
        lifecycle.lose(ctx.job_id, 1, reason="gone")
        return Nothing()

    stale, following = make(lose, max_attempts=2), make()

    assert chain(stale, following) == ["queued", "succeeded"]
    assert JobLog.objects.filter(job=stale).last().message == "Stale attempt ignored"  # type: ignore[union-attr]


def test_one_that_others_depend_on_releases_them(make: Make, make_job: Any) -> None:
    needed = make()
    dependant: Job = make_job("test.by-name", input={"depends_on": [str(needed.id)]})

    assert chain(needed, make()) == ["succeeded"] * 2

    dependant.refresh_from_db()
    assert dependant.waiting_on == 0


def test_one_that_makes_jobs_waits_for_them_and_the_next_one_runs(make: Make) -> None:
    parent = make(lambda ctx: ctx.spawn([Child(type="test.by-name", input={})]))

    assert chain(parent, make()) == ["queued", "succeeded"]

    parent.refresh_from_db()
    assert (parent.waiting_on, parent.phase) == (1, 1)


def test_a_failure_is_tried_again_and_the_next_one_runs(make: Make) -> None:
    def fail(_: JobContext[Any]) -> Nothing:
        raise ValueError("no")

    assert chain(make(fail, max_attempts=2), make(fail, max_attempts=1), make()) == ["queued", "failed", "succeeded"]


def test_a_result_that_cannot_be_stored_takes_nobody_with_it(make: Make) -> None:
    assert chain(make(lambda _: object()), make()) == [Status.FAILED, Status.SUCCEEDED]


def test_a_connection_lost_meanwhile_costs_neither(make: Make) -> None:
    jobs = [make(lose_connection), make(), make()]

    assert chain(*jobs) == ["succeeded"] * 3
    assert list(Attempt.objects.values_list("outcome", flat=True)) == ["succeeded"] * 3


def test_statements_together_all_happen_or_none(claimed: Callable[..., Claim]) -> None:
    held = claimed()
    finish = Finish.success(held.id, held.fence, result=None)
    broken = claim_params([wanted(Job.objects.get(pk=held.id))]) | {"ids": ["not a uuid"]}

    with pytest.raises(Exception, match="uuid"):
        rows_together(("end_attempts", end_params([finish], alone=True)), ("claim", broken))

    assert Job.objects.get(pk=held.id).status == "running"
    [counted] = rows("end_attempts", end_params([finish], alone=True))
    assert counted["status"] == "succeeded"
