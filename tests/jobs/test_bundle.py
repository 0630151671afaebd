"""Several short jobs in one message: claimed together, run one after the other, ended together."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs import attempts, bundle, execution, lifecycle
from jobs.handlers.base import AttemptFailed, Cancelled, Child, JobContext, Retry
from jobs.models import Attempt, CallbackDelivery, Job, LargeResult, Outcome
from rauskuclaw import errors
from rauskuclaw.config import load
from tests.conftest import WORKER, error_of
from tests.jobs.bundles import (
    Action,
    Make,
    Nothing,
    fail,
    log,
    lose_connection,
    now,
    outcomes,
    overdue,
    run,
    settled,
    states,
    wanted,
)
from tests.running import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wire", "unwatched")]


def test_a_bundle_is_claimed_in_one_statement_and_ended_in_one(make_short: Make) -> None:
    first, second = [make_short() for _ in range(3)], [make_short() for _ in range(3)]

    with CaptureQueriesContext(connection) as context:
        execution.run_attempts([[wanted(job) for job in jobs] for jobs in (first, second)])

    written = [query["sql"] for query in context.captured_queries if "jobs_attempt" in query["sql"]]
    assert ["told" in text for text in written] == [False, True, False, True]
    assert states(*first, *second) == ["succeeded"] * 6
    assert {tuple(outcomes(job)) for job in (*first, *second)} == {("succeeded",)}


def test_the_end_of_a_bundle_and_the_claim_of_the_next_are_one_transaction(make_short: Make) -> None:
    first, second = [make_short(), make_short()], [make_short(), make_short()]

    execution.run_attempts([[wanted(job) for job in jobs] for jobs in (first, second)])

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT message, array_agg(DISTINCT xmin::text ORDER BY xmin::text) FROM jobs_joblog"
            " WHERE job_id = ANY (%s) AND message = 'Job succeeded' OR job_id = ANY (%s) AND message = 'Job claimed'"
            " GROUP BY message",
            [[job.id for job in first], [job.id for job in second]],
        )
        found = dict(cursor.fetchall())
    assert found["Job succeeded"] == found["Job claimed"]
    assert len(found["Job claimed"]) == 1


def test_they_run_in_the_order_of_the_message(make_short: Make) -> None:
    seen: list[Any] = []

    def note(ctx: JobContext[Any]) -> Nothing:
        seen.append(ctx.job_id)
        return Nothing()

    jobs = [make_short(note) for _ in range(6)]
    order = [jobs[n] for n in (3, 0, 5, 1, 4, 2)]

    run(*order)

    assert seen == [job.id for job in order]


def test_each_has_its_own_attempt_with_its_own_time(make_short: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    began_at = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: began_at)
    monkeypatch.setattr(execution, "time", clock)

    def takes(sec: float) -> Action:
        def action(_: JobContext[Any]) -> Nothing:
            at = clock.monotonic() + sec
            clock.monotonic = lambda: at
            return Nothing()

        return action

    jobs = [make_short(takes(sec)) for sec in (0.25, 0.5, 1.0)]

    run(*jobs)

    assert [Attempt.objects.get(job=job).ran_ms for job in jobs] == [250, 500, 1000]
    assert {it.worker for it in Attempt.objects.all()} == {WORKER}


def test_one_that_was_cancelled_before_the_claim_is_left_out(make_short: Make) -> None:
    jobs = [make_short(), make_short(lambda _: pytest.fail("ran")), make_short()]
    lifecycle.cancel(jobs[1].id, by="test")

    assert run(*jobs) == ["succeeded", "cancelled", "succeeded"]
    assert outcomes(jobs[1]) == []


def test_a_message_that_comes_twice_runs_none_again(make_short: Make) -> None:
    jobs = [make_short(), make_short()]
    both = [wanted(job) for job in jobs]

    execution.run_attempts([both, both])

    assert [outcomes(job) for job in jobs] == [["succeeded"]] * 2


@pytest.mark.parametrize("stopped", [True, False], ids=["and stopped", "and let run"])
def test_one_that_is_cancelled_while_it_runs_takes_no_other_with_it(make_short: Make, stopped: bool) -> None:
    def be_cancelled(ctx: JobContext[Any]) -> Nothing:
        lifecycle.cancel(ctx.job_id, by="test")
        if stopped:
            raise Cancelled
        return Nothing()

    jobs = [make_short(), make_short(be_cancelled), make_short()]

    assert run(*jobs) == ["succeeded", "cancelled", "succeeded"]
    assert outcomes(jobs[1]) == ["cancelled"]
    assert ("Stale attempt ignored" in log(jobs[1])) is not stopped


def test_one_that_is_cancelled_before_its_turn_stays_cancelled(make_short: Make) -> None:
    last = make_short()

    def cancel(_: JobContext[Any]) -> Nothing:
        lifecycle.cancel(last.id, by="test")
        return Nothing()

    assert run(make_short(cancel), last) == ["succeeded", "cancelled"]
    assert outcomes(last) == ["cancelled"]


def retry(_: JobContext[Any]) -> Nothing:
    raise Retry("later", after_sec=60)


def give_up(_: JobContext[Any]) -> Nothing:
    raise AttemptFailed(errors.HANDLER_ERROR, "never", retryable=False)


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (fail, "queued"),
        (retry, "queued"),
        (give_up, "failed"),
        (lambda _: object(), "failed"),
        (lambda _: (_ for _ in ()).throw(SystemExit(1)), "queued"),
    ],
    ids=["raises", "asks for a retry", "fails for good", "unstorable result", "tries to end the process"],
)
def test_one_that_fails_takes_no_other_with_it(make_short: Make, action: Action, status: str) -> None:
    jobs = [make_short(), make_short(action, max_attempts=2), make_short()]

    assert run(*jobs) == ["succeeded", status, "succeeded"]
    assert outcomes(jobs[1]) == ["failed"]
    assert now(jobs[1]).attempts == 1


def test_one_with_a_handler_that_is_gone_fails_alone(make_short: Make, make_type: Any) -> None:
    jobs = [make_short(), make_short()]
    make_type("test.lost", handler="test:lost")
    Job.objects.filter(pk=jobs[0].pk).update(type="test.lost")

    assert run(*jobs) == ["failed", "succeeded"]
    assert error_of(now(jobs[0]))["code"] == "HANDLER_UNKNOWN"


def test_one_that_makes_jobs_waits_for_them(make_short: Make) -> None:
    parent = make_short(lambda ctx: ctx.spawn([Child(type="test.short", input={})]))

    assert run(make_short(), parent, make_short()) == ["succeeded", "queued", "succeeded"]
    assert (now(parent).waiting_on, outcomes(parent)) == (1, ["suspended"])


def test_children_that_end_together_let_their_parent_go_on(make_short: Make) -> None:
    parent = make_short(lambda ctx: Nothing() if ctx.children else ctx.spawn([Child(type="test.short", input={})] * 3))
    run(parent)

    children = list(Job.objects.filter(group__parent=parent))
    assert run(*children) == ["succeeded"] * 3
    assert (now(parent).waiting_on, now(parent).published_at is not None) == (0, True)

    assert run(make_short(), parent) == ["succeeded"] * 2
    assert outcomes(parent) == ["suspended", "succeeded"]


def test_those_that_others_depend_on_release_them(make_short: Make) -> None:
    needed, other = make_short(), make_short()
    dependant = make_short(input={"depends_on": [str(needed.id), str(other.id)]})

    assert run(make_short(), needed, make_short(), other) == ["succeeded"] * 4
    assert now(dependant).waiting_on == 0


def test_what_depends_on_one_that_fails_fails_too(make_short: Make) -> None:
    needed = make_short(fail, max_attempts=1)
    dependant = make_short(input={"depends_on": [str(needed.id)]})

    assert run(make_short(), needed, make_short()) == ["succeeded", "failed", "succeeded"]
    assert states(dependant) == ["failed"]


def test_a_large_result_is_told_alone(make_short: Make, configure: Any) -> None:
    configure(RESULT_INLINE_MAX_BYTES=1024)
    large = make_short(lambda _: {"text": "x" * 2000})

    assert run(make_short(), large, make_short()) == ["succeeded"] * 3
    assert LargeResult.objects.get().job_id == large.id
    assert now(large).result_size_bytes == len('{"text":""}') + 2000


def test_each_calls_back_that_is_to(make_short: Make, configure: Any) -> None:
    configure(CALLBACK_ALLOWED_HOSTS="hooks.example")
    jobs = [
        make_short(),
        make_short(callback_url="https://hooks.example/a"),
        make_short(fail, max_attempts=1, callback_url="https://hooks.example/b"),
    ]

    run(*jobs)

    told = {it.job_id: it.payload["status"] for it in CallbackDelivery.objects.all()}
    assert told == {jobs[1].id: "succeeded", jobs[2].id: "failed"}


@pytest.mark.parametrize("followed", [True, False], ids=["before another message", "at the end"])
def test_a_result_that_postgres_refuses_takes_no_other_with_it(
    make_short: Make, refused: dict[str, str], followed: bool
) -> None:
    jobs = [make_short(), make_short(lambda _: refused), make_short()]
    following = [make_short(), make_short()]
    messages = [jobs, following] if followed else [jobs]

    execution.run_attempts([[wanted(job) for job in message] for message in messages])

    assert states(*jobs) == ["succeeded", "running", "succeeded"]
    assert states(*following) == (["succeeded"] * 2 if followed else ["queued"] * 2)
    assert "Stale attempt ignored" not in log(jobs[0]) + log(jobs[2])


def test_a_connection_lost_in_the_middle_costs_none(make_short: Make) -> None:
    first, second = [make_short(), make_short(lose_connection), make_short()], [make_short(), make_short()]

    execution.run_attempts([[wanted(job) for job in jobs] for jobs in (first, second)])

    assert states(*first, *second) == ["succeeded"] * 5
    assert {tuple(outcomes(job)) for job in (*first, *second)} == {("succeeded",)}


def test_while_one_is_slow_those_before_are_settled_and_those_behind_given_back(make_short: Make) -> None:
    before, behind = [make_short(), make_short()], [make_short(max_attempts=1), make_short(max_attempts=1)]
    seen: list[list[str]] = []

    def slow(_: JobContext[Any]) -> Nothing:
        overdue()
        settled(*before, *behind)
        seen.append(states(*before, *behind))
        return Nothing()

    middle = make_short(slow)
    run(*before, middle, *behind)

    assert seen == [["succeeded", "succeeded", "queued", "queued"]]
    assert states(middle) == ["succeeded"]
    for job in behind:
        assert (now(job).attempts, now(job).fence, outcomes(job)) == (0, 1, [Outcome.UNBEGUN])
        assert log(job)[-2:] == ["Job claimed", "Given back unbegun"]

    assert run(*behind) == ["succeeded"] * 2
    assert [(now(job).attempts, outcomes(job)) for job in behind] == [(1, ["unbegun", "succeeded"])] * 2


def test_what_is_given_back_is_published_again(make_short: Make, published: Any) -> None:
    behind = make_short()

    def slow(_: JobContext[Any]) -> Nothing:
        overdue()
        wait_until(lambda: now(behind).published_at is not None, what="it to be published again")
        return Nothing()

    first = make_short(slow)
    published_before = len(published())
    run(first, behind)

    assert (states(behind), now(behind).fence) == (["queued"], 1)
    assert len(published()) == published_before + 1


def test_a_failure_before_a_slow_one_is_told_too(make_short: Make) -> None:
    failing = make_short(fail, max_attempts=1)

    def slow(_: JobContext[Any]) -> Nothing:
        overdue()
        settled(failing)
        return Nothing()

    assert run(failing, make_short(slow)) == ["failed", "succeeded"]


def test_a_bundle_after_one_that_was_taken_apart_is_watched_too(make_short: Make) -> None:
    def slow_before(behind: Job) -> Action:
        def slow(_: JobContext[Any]) -> Nothing:
            overdue()
            settled(behind)
            return Nothing()

        return slow

    behind = [make_short(), make_short()]
    for job in behind:
        assert run(make_short(slow_before(job)), job) == ["succeeded", "queued"]


def test_a_bundle_that_comes_while_the_watch_lies_down_is_watched(make_short: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr(bundle, "IDLE_SEC", 0.0)
    watch, lay_down = bundle._Watch(), threading.Event()
    first, behind = attempts.claim_all([wanted(make_short()) for _ in range(2)])
    late = bundle.Bundle([first, behind], WORKER, since=time.monotonic())
    late.due_at = 0.0

    class News(threading.Event):
        def clear(self) -> None:
            if not lay_down.is_set():
                watch.set(late)
                lay_down.set()
            super().clear()

    watch._news = News()
    watch.set(bundle.Bundle([first], WORKER, since=0.0))
    watch.set(None)
    assert lay_down.wait(60)

    settled(*Job.objects.all())
    watch.set(None)


def test_a_process_that_stood_still_begins_no_more_of_them(make_short: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(bundle, "time", clock)

    def stand_still(_: JobContext[Any]) -> Nothing:
        woke_at = time.monotonic() + load().lease_sec / 2
        clock.monotonic = lambda: woke_at
        return Nothing()

    def never(_: JobContext[Any]) -> Nothing:
        pytest.fail("ran")

    first, others = make_short(stand_still), [make_short(never), make_short(never)]
    execution.run_attempts([[wanted(job) for job in (first, *others)]])

    assert states(first) == ["succeeded"]
    assert states(*others) == ["queued"] * 2
    assert [now(job).attempts for job in others] == [0, 0]
