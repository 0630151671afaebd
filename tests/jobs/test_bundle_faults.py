"""What may go wrong around a bundle, and what is given back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection

from jobs import agent as agents
from jobs import attempts, dispatch, execution, lifecycle
from jobs.models import Job, Queue, Status
from jobs.pools.process import ProcessPool
from jobs.requests import NewJob
from jobs.slots import Slots
from jobs.submission import submit_batch
from metrics import counting
from tests.conftest import NODE
from tests.jobs.bundles import (
    Make,
    Nothing,
    Short,
    claimed_together,
    fail,
    log,
    now,
    outcomes,
    overdue,
    run,
    settled,
    states,
    wanted,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wire", "unwatched")]


@pytest.fixture
def away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres goes away where a job's dependants are to be settled, the first time."""
    real, broken = lifecycle._settle_dependants, [True]

    def away(*args: Any) -> None:
        if broken:
            broken.pop()
            raise OperationalError("away")
        real(*args)

    monkeypatch.setattr(lifecycle, "_settle_dependants", away)


def test_a_cancel_that_comes_before_its_turn_stops_it_when_it_runs(make_short: Make, monkeypatch: Any) -> None:
    """The agent hears the cancel of a pending one; when its turn comes it is to be stopped at once."""
    pool = ProcessPool(NODE, 1)
    agent = agents.Agent(NODE, pool, queues=["default"])
    pool.slots.join()
    told: list[Any] = []
    monkeypatch.setattr(pool, "interrupt", lambda held, why: told.append(held.key))
    last = make_short()

    def hear(_: Any) -> Nothing:
        with connection.cursor() as cursor:
            cursor.execute("LISTEN rauskuclaw_stop")
        lifecycle.cancel(last.id, by="test")
        agent._serve_once()
        return Nothing()

    def long(_: Any) -> Nothing:
        for _n in range(5):
            agent._serve_once()
        return Nothing()

    Short.actions[last.id] = long
    run(make_short(hear), last, slots=pool.slots)
    assert told == [(last.id, 1)]


def test_an_end_that_postgres_refuses_leaves_the_next_claims_alone(make_short: Make, refused: dict[str, str]) -> None:
    first = make_short(lambda _: refused)
    make_short(input={"depends_on": [str(first.id)]})
    following = [make_short(max_attempts=1), make_short(max_attempts=1)]

    execution.run_attempts([[wanted(first), wanted(make_short())], [wanted(job) for job in following]])

    assert states(*following) == ["succeeded"] * 2


def test_a_database_that_goes_away_before_the_dependants_leaves_the_next_claims_alone(
    make_short: Make, away_once: None
) -> None:
    first = make_short()
    make_short(input={"depends_on": [str(first.id)]})
    following = [make_short(max_attempts=1), make_short(max_attempts=1)]
    execution.run_attempts([[wanted(first), wanted(make_short())], [wanted(job) for job in following]])

    assert states(first, *following) == ["succeeded"] * 3


def test_what_was_told_is_not_told_again_as_stale(make_short: Make, away_once: None) -> None:
    first, plain = make_short(), make_short()
    make_short(input={"depends_on": [str(first.id)]})
    assert run(first, plain) == ["succeeded"] * 2
    assert "Stale attempt ignored" not in log(plain)


def test_a_process_goes_on_when_all_is_told_and_given_back(make_short: Make, monkeypatch: Any) -> None:
    go, in_it = threading.Event(), threading.Event()
    real = lifecycle.give_back

    def slow_give_back(*args: Any, **kwargs: Any) -> int:
        in_it.set()
        go.wait(5)
        return real(*args, **kwargs)

    monkeypatch.setattr(lifecycle, "give_back", slow_give_back)

    def slow(_: Any) -> Nothing:
        overdue()
        in_it.wait(10)
        return Nothing()

    first, behind = make_short(slow), make_short()
    threading.Timer(1.0, go.set).start()
    run(first, behind)
    found = states(behind)
    go.set()
    settled(behind)
    assert found == ["queued"]


def test_what_never_began_is_not_counted(make_short: Make) -> None:
    jobs = [make_short(), make_short(), make_short()]
    claims = attempts.claim_all([wanted(job) for job in jobs])
    lifecycle.give_back([(it.id, it.fence) for it in claims], reason="test")
    assert not [it for it in counting.totals() if it[0] == "job.run"]


def test_long_and_short_jobs_of_one_type_are_weighed_each(make_type: Any, make_job: Any) -> None:
    """The handler was short once: what waits since then says so still, what came after does not."""
    make_type()
    Queue.objects.create(name="default", paused=True)
    made = submit_batch([NewJob(type="report.generate")] * 100, created_by="test")
    Job.objects.exclude(pk=made[0].job.pk).update(short=False)  # type: ignore[union-attr]
    Queue.objects.update(paused=False)
    dispatch.fill("default", "process")
    assert Job.objects.exclude(published_at=None).count() <= dispatch.WINDOW_MIN + 1


def test_what_another_process_runs_is_not_in_this_ones_hand(make_short: Make) -> None:
    """A message that Redis has twice: what another process runs must not be seen in this one's hand."""
    first, second, third = make_short(), make_short(), make_short()
    message = [wanted(job) for job in (first, second, third)]
    lifecycle.claim(wanted(second))  # the other process runs it
    slots = Slots(1)
    slots.join()
    seen: list[Any] = []

    def look(_: Any) -> Nothing:
        seen.append([it.key for it in slots.others(slots.held()[0])[1]])
        return Nothing()

    Short.actions[first.id] = look
    execution.run_attempts([message], slots=slots)
    assert seen == [[(third.id, 1)]]


@pytest.mark.parametrize("how", ["stale fence", "ended", "cancelled", "lost", "given back"])
def test_only_what_is_still_held_is_given_back(make_short: Make, how: str) -> None:
    first, second, third = claimed_together(make_short, max_attempts=3)
    if how == "stale fence":
        second = (second[0], second[1] - 1)
    elif how == "ended":
        lifecycle.succeed(*second, result=None)
    elif how == "cancelled":
        lifecycle.cancel(second[0], by="test")
    elif how == "lost":
        lifecycle.lose(*second, reason="gone")
    else:
        lifecycle.give_back([second], reason="before")
    job = Job.objects.get(pk=second[0])
    was, lines, rows = (job.status, job.attempts, job.updated_at), log(job), outcomes(job)

    assert lifecycle.give_back([first, second, third], reason="test") == 2

    job = Job.objects.get(pk=second[0])
    assert ((job.status, job.attempts, job.updated_at), log(job), outcomes(job)) == (was, lines, rows)


def test_an_attempt_that_was_given_back_can_do_nothing_any_more(make_short: Make) -> None:
    (held,) = claimed_together(make_short, 1)
    lifecycle.give_back([held], reason="test")

    assert not lifecycle.succeed(*held, result={"n": 1})
    assert not lifecycle.lose(*held, reason="gone")
    assert Job.objects.get(pk=held[0]).status == Status.QUEUED


def test_a_given_back_retry_is_as_it_was_before_the_claim(make_short: Make) -> None:
    job = make_short(fail, max_attempts=2)
    run(job)
    Job.objects.filter(pk=job.pk).update(published_at=now(job).created_at, available_at=now(job).created_at)
    before = now(job)
    (claim,) = attempts.claim_all([wanted(job)])

    lifecycle.give_back([(claim.id, claim.fence)], reason="test")

    after = now(job)
    assert (after.attempts, after.available_at, after.error) == (1, before.available_at, before.error)
    assert (after.locked_by, after.node, after.lease_expires_at) == ("", None, None)
    assert outcomes(job) == ["failed", "unbegun"]
