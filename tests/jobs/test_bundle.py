"""Several short jobs in one message: claimed together, run one after the other, ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import BaseModel

from jobs import attempts, bundle, execution, lifecycle
from jobs.handlers import registry
from jobs.handlers.base import AttemptFailed, Cancelled, Child, Handler, JobContext, Retry
from jobs.models import Attempt, CallbackDelivery, Job, JobLog, LargeResult, Outcome, Status
from jobs.slots import Slots
from jobs.transitions import Claimable
from rauskuclaw import errors
from rauskuclaw.config import load
from tests.conftest import NODE, WORKER, error_of
from tests.running import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wire", "unwatched")]
Action = Callable[[JobContext[Any]], Any]


class Nothing(BaseModel):
    """Input and output."""


class Short(Handler[Nothing, Nothing]):
    """Does what the test says of this job."""

    id = "test:short"
    short = True
    Input = Nothing
    Output = Nothing
    actions: ClassVar[dict[Any, Action]] = {}

    def run(self, ctx: JobContext[Nothing]) -> Any:
        action = self.actions.get(ctx.job_id)
        return Nothing() if action is None else action(ctx)


Make = Callable[..., Job]


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes a bundle apart but what a test does for it (`overdue`), however slow this machine is."""
    monkeypatch.setattr(bundle, "PATIENCE_SEC", 3600.0)


@pytest.fixture
def make(make_type: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A short job, and what its handler does."""
    monkeypatch.setitem(registry.installed(), Short.id, Short())
    monkeypatch.setattr(Short, "actions", {})
    make_type("test.short", handler=Short.id)

    def once(action: Action | None = None, **fields: Any) -> Job:
        job: Job = make_job("test.short", **fields)
        if action is not None:
            Short.actions[job.id] = action
        return job

    return once


def wanted(job: Job) -> Claimable:
    return Claimable(job.id, now(job).fence, WORKER, NODE)


def run(*jobs: Job, slots: Slots | None = None) -> list[str]:
    """One message of them all. Returns what they are then."""
    execution.run_attempts([[wanted(job) for job in jobs]], slots=slots)
    return states(*jobs)


def now(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def states(*jobs: Job) -> list[str]:
    return [now(job).status for job in jobs]


def outcomes(job: Job) -> list[str]:
    return list(Attempt.objects.filter(job=job).order_by("number").values_list("outcome", flat=True))


def log(job: Job) -> list[str]:
    return list(JobLog.objects.filter(job=job).order_by("id").values_list("message", flat=True))


def overdue() -> None:
    """Let the bundle that runs be one that has taken too long."""
    running = bundle._watch._bundle
    assert running is not None
    running.due_at = 0.0


def settled(*jobs: Job) -> None:
    """Wait until nobody holds any of these."""
    wait_until(lambda: "running" not in states(*jobs), what="the bundle to be taken apart")


def fail(_: JobContext[Any]) -> Nothing:
    raise ValueError("no")


def test_a_bundle_is_claimed_in_one_statement_and_ended_in_one(make: Make) -> None:
    first, second = [make() for _ in range(3)], [make() for _ in range(3)]

    with CaptureQueriesContext(connection) as context:
        execution.run_attempts([[wanted(job) for job in jobs] for jobs in (first, second)])

    written = [query["sql"] for query in context.captured_queries if "jobs_attempt" in query["sql"]]
    assert ["told" in text for text in written] == [False, True, False, True]
    assert states(*first, *second) == ["succeeded"] * 6
    assert {tuple(outcomes(job)) for job in (*first, *second)} == {("succeeded",)}


def test_the_end_of_a_bundle_and_the_claim_of_the_next_are_one_transaction(make: Make) -> None:
    first, second = [make(), make()], [make(), make()]

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


def test_they_run_in_the_order_of_the_message(make: Make) -> None:
    seen: list[Any] = []

    def note(ctx: JobContext[Any]) -> Nothing:
        seen.append(ctx.job_id)
        return Nothing()

    jobs = [make(note) for _ in range(6)]
    order = [jobs[n] for n in (3, 0, 5, 1, 4, 2)]

    run(*order)

    assert seen == [job.id for job in order]


def test_each_has_its_own_attempt_with_its_own_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    began_at = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: began_at)
    monkeypatch.setattr(execution, "time", clock)

    def takes(sec: float) -> Action:
        def action(_: JobContext[Any]) -> Nothing:
            at = clock.monotonic() + sec
            clock.monotonic = lambda: at
            return Nothing()

        return action

    jobs = [make(takes(sec)) for sec in (0.25, 0.5, 1.0)]

    run(*jobs)

    assert [Attempt.objects.get(job=job).ran_ms for job in jobs] == [250, 500, 1000]
    assert {it.worker for it in Attempt.objects.all()} == {WORKER}


def test_one_that_was_cancelled_before_the_claim_is_left_out(make: Make) -> None:
    jobs = [make(), make(lambda _: pytest.fail("ran")), make()]
    lifecycle.cancel(jobs[1].id, by="test")

    assert run(*jobs) == ["succeeded", "cancelled", "succeeded"]
    assert outcomes(jobs[1]) == []


def test_a_message_that_comes_twice_runs_none_again(make: Make) -> None:
    jobs = [make(), make()]
    both = [wanted(job) for job in jobs]

    execution.run_attempts([both, both])

    assert [outcomes(job) for job in jobs] == [["succeeded"]] * 2


@pytest.mark.parametrize("stopped", [True, False], ids=["and stopped", "and let run"])
def test_one_that_is_cancelled_while_it_runs_takes_no_other_with_it(make: Make, stopped: bool) -> None:
    def be_cancelled(ctx: JobContext[Any]) -> Nothing:
        lifecycle.cancel(ctx.job_id, by="test")
        if stopped:
            raise Cancelled
        return Nothing()

    jobs = [make(), make(be_cancelled), make()]

    assert run(*jobs) == ["succeeded", "cancelled", "succeeded"]
    assert outcomes(jobs[1]) == ["cancelled"]
    assert ("Stale attempt ignored" in log(jobs[1])) is not stopped


def test_one_that_is_cancelled_before_its_turn_stays_cancelled(make: Make) -> None:
    last = make()

    def cancel(_: JobContext[Any]) -> Nothing:
        lifecycle.cancel(last.id, by="test")
        return Nothing()

    assert run(make(cancel), last) == ["succeeded", "cancelled"]
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
def test_one_that_fails_takes_no_other_with_it(make: Make, action: Action, status: str) -> None:
    jobs = [make(), make(action, max_attempts=2), make()]

    assert run(*jobs) == ["succeeded", status, "succeeded"]
    assert outcomes(jobs[1]) == ["failed"]
    assert now(jobs[1]).attempts == 1


def test_one_with_a_handler_that_is_gone_fails_alone(make: Make, make_type: Any) -> None:
    jobs = [make(), make()]
    make_type("test.lost", handler="test:lost")
    Job.objects.filter(pk=jobs[0].pk).update(type="test.lost")

    assert run(*jobs) == ["failed", "succeeded"]
    assert error_of(now(jobs[0]))["code"] == "HANDLER_UNKNOWN"


def test_one_that_makes_jobs_waits_for_them(make: Make) -> None:
    parent = make(lambda ctx: ctx.spawn([Child(type="test.short", input={})]))

    assert run(make(), parent, make()) == ["succeeded", "queued", "succeeded"]
    assert (now(parent).waiting_on, outcomes(parent)) == (1, ["suspended"])


def test_children_that_end_together_let_their_parent_go_on(make: Make) -> None:
    parent = make(lambda ctx: Nothing() if ctx.children else ctx.spawn([Child(type="test.short", input={})] * 3))
    run(parent)

    children = list(Job.objects.filter(group__parent=parent))
    assert run(*children) == ["succeeded"] * 3
    assert (now(parent).waiting_on, now(parent).published_at is not None) == (0, True)

    assert run(make(), parent) == ["succeeded"] * 2
    assert outcomes(parent) == ["suspended", "succeeded"]


def test_those_that_others_depend_on_release_them(make: Make) -> None:
    needed, other = make(), make()
    dependant = make(input={"depends_on": [str(needed.id), str(other.id)]})

    assert run(make(), needed, make(), other) == ["succeeded"] * 4
    assert now(dependant).waiting_on == 0


def test_what_depends_on_one_that_fails_fails_too(make: Make) -> None:
    needed = make(fail, max_attempts=1)
    dependant = make(input={"depends_on": [str(needed.id)]})

    assert run(make(), needed, make()) == ["succeeded", "failed", "succeeded"]
    assert states(dependant) == ["failed"]


def test_a_large_result_is_told_alone(make: Make, configure: Any) -> None:
    configure(RESULT_INLINE_MAX_BYTES=1024)
    large = make(lambda _: {"text": "x" * 2000})

    assert run(make(), large, make()) == ["succeeded"] * 3
    assert LargeResult.objects.get().job_id == large.id
    assert now(large).result_size_bytes == len('{"text":""}') + 2000


def test_each_calls_back_that_is_to(make: Make, configure: Any) -> None:
    configure(CALLBACK_ALLOWED_HOSTS="hooks.example")
    jobs = [
        make(),
        make(callback_url="https://hooks.example/a"),
        make(fail, max_attempts=1, callback_url="https://hooks.example/b"),
    ]

    run(*jobs)

    told = {it.job_id: it.payload["status"] for it in CallbackDelivery.objects.all()}
    assert told == {jobs[1].id: "succeeded", jobs[2].id: "failed"}


@pytest.fixture
def refused() -> Iterator[dict[str, str]]:
    """A result that Postgres does not take."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job ADD CONSTRAINT of_a_test CHECK (result->>'refuse' IS NULL)")
    yield {"refuse": "me"}
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job DROP CONSTRAINT of_a_test")


@pytest.mark.parametrize("followed", [True, False], ids=["before another message", "at the end"])
def test_a_result_that_postgres_refuses_takes_no_other_with_it(
    make: Make, refused: dict[str, str], followed: bool
) -> None:
    jobs = [make(), make(lambda _: refused), make()]
    following = [make(), make()]
    messages = [jobs, following] if followed else [jobs]

    execution.run_attempts([[wanted(job) for job in message] for message in messages])

    assert states(*jobs) == ["succeeded", "running", "succeeded"]
    assert states(*following) == (["succeeded"] * 2 if followed else ["queued"] * 2)
    assert "Stale attempt ignored" not in log(jobs[0]) + log(jobs[2])


def test_a_connection_lost_in_the_middle_costs_none(make: Make) -> None:
    def cut(_: JobContext[Any]) -> Nothing:
        there = connection.settings_dict
        with psycopg.connect(
            host=there["HOST"], port=there["PORT"], user=there["USER"], password=there["PASSWORD"],
            dbname=there["NAME"], autocommit=True,
        ) as other:  # fmt: skip
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
        return Nothing()

    first, second = [make(), make(cut), make()], [make(), make()]

    execution.run_attempts([[wanted(job) for job in jobs] for jobs in (first, second)])

    assert states(*first, *second) == ["succeeded"] * 5
    assert {tuple(outcomes(job)) for job in (*first, *second)} == {("succeeded",)}


def test_while_one_is_slow_those_before_are_settled_and_those_behind_given_back(make: Make) -> None:
    before, behind = [make(), make()], [make(max_attempts=1), make(max_attempts=1)]
    seen: list[list[str]] = []

    def slow(_: JobContext[Any]) -> Nothing:
        overdue()
        settled(*before, *behind)
        seen.append(states(*before, *behind))
        return Nothing()

    middle = make(slow)
    run(*before, middle, *behind)

    assert seen == [["succeeded", "succeeded", "queued", "queued"]]
    assert states(middle) == ["succeeded"]
    for job in behind:
        assert (now(job).attempts, now(job).fence, outcomes(job)) == (0, 1, [Outcome.UNBEGUN])
        assert log(job)[-2:] == ["Job claimed", "Given back unbegun"]

    assert run(*behind) == ["succeeded"] * 2
    assert [(now(job).attempts, outcomes(job)) for job in behind] == [(1, ["unbegun", "succeeded"])] * 2


def test_what_is_given_back_is_published_again(make: Make, published: Any) -> None:
    behind = make()

    def slow(_: JobContext[Any]) -> Nothing:
        overdue()
        wait_until(lambda: now(behind).published_at is not None, what="it to be published again")
        return Nothing()

    first = make(slow)
    published_before = len(published())
    run(first, behind)

    assert (states(behind), now(behind).fence) == (["queued"], 1)
    assert len(published()) == published_before + 1


def test_a_failure_before_a_slow_one_is_told_too(make: Make) -> None:
    failing = make(fail, max_attempts=1)

    def slow(_: JobContext[Any]) -> Nothing:
        overdue()
        settled(failing)
        return Nothing()

    assert run(failing, make(slow)) == ["failed", "succeeded"]


def test_a_bundle_after_one_that_was_taken_apart_is_watched_too(make: Make) -> None:
    def slow_before(behind: Job) -> Action:
        def slow(_: JobContext[Any]) -> Nothing:
            overdue()
            settled(behind)
            return Nothing()

        return slow

    behind = [make(), make()]
    for job in behind:
        assert run(make(slow_before(job)), job) == ["succeeded", "queued"]


def test_a_bundle_that_comes_while_the_watch_lies_down_is_watched(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "IDLE_SEC", 0.0)
    watch, lay_down = bundle._Watch(), threading.Event()
    first, behind = attempts.claim_all([wanted(make()) for _ in range(2)])
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


def test_a_process_that_stood_still_begins_no_more_of_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(bundle, "time", clock)

    def stand_still(_: JobContext[Any]) -> Nothing:
        woke_at = time.monotonic() + load().lease_sec / 2
        clock.monotonic = lambda: woke_at
        return Nothing()

    def never(_: JobContext[Any]) -> Nothing:
        pytest.fail("ran")

    first, others = make(stand_still), [make(never), make(never)]
    execution.run_attempts([[wanted(job) for job in (first, *others)]])

    assert states(first) == ["succeeded"]
    assert states(*others) == ["queued"] * 2
    assert [now(job).attempts for job in others] == [0, 0]


def claimed_together(make: Make, count: int = 3, **fields: Any) -> list[tuple[Any, int]]:
    jobs = [make(**fields) for _ in range(count)]
    claims = attempts.claim_all([wanted(job) for job in jobs])
    return [(it.id, it.fence) for it in claims]


@pytest.mark.parametrize("how", ["stale fence", "ended", "cancelled", "lost", "given back"])
def test_only_what_is_still_held_is_given_back(make: Make, how: str) -> None:
    first, second, third = claimed_together(make, max_attempts=3)
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


def test_an_attempt_that_was_given_back_can_do_nothing_any_more(make: Make) -> None:
    (held,) = claimed_together(make, 1)
    lifecycle.give_back([held], reason="test")

    assert not lifecycle.succeed(*held, result={"n": 1})
    assert not lifecycle.lose(*held, reason="gone")
    assert Job.objects.get(pk=held[0]).status == Status.QUEUED


def test_a_given_back_retry_is_as_it_was_before_the_claim(make: Make) -> None:
    job = make(fail, max_attempts=2)
    run(job)
    Job.objects.filter(pk=job.pk).update(published_at=now(job).created_at, available_at=now(job).created_at)
    before = now(job)
    (claim,) = attempts.claim_all([wanted(job)])

    lifecycle.give_back([(claim.id, claim.fence)], reason="test")

    after = now(job)
    assert (after.attempts, after.available_at, after.error) == (1, before.available_at, before.error)
    assert (after.locked_by, after.node, after.lease_expires_at) == ("", None, None)
    assert outcomes(job) == ["failed", "unbegun"]
