"""What a worker does with one message, with real handlers and a real database; the pool is tested in tests/chaos."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import BaseModel

from jobs import execution, lifecycle
from jobs.handlers import registry
from jobs.handlers.base import AttemptFailed, Handler, JobContext, Retry
from jobs.models import Attempt, Job, JobLog, Status
from jobs.slots import Held, Slots, Why
from jobs.transitions import MAX_RESULT_BYTES, Claimable
from rauskuclaw import errors
from tests.conftest import WORKER, error_of

pytestmark = pytest.mark.django_db(transaction=True)
Run = Callable[..., Job]


class Anything(BaseModel):
    """Input and output of the handlers below."""

    n: int = 0


Action = Callable[[JobContext[Anything]], Any]


class Scripted(Handler[Anything, Anything]):
    """Does what the test says."""

    id = "test:scripted"
    Input = Anything
    Output = Anything
    action: ClassVar[Action]

    def run(self, ctx: JobContext[Anything]) -> Any:
        return type(self).action(ctx)


@pytest.fixture
def slots() -> Slots:
    """This process's slot, as in a pool process."""
    made = Slots(1)
    made.join()
    return made


@pytest.fixture
def run(make_type: Any, make_job: Any, slots: Slots, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`run(action, **job)` makes a job, runs one attempt of it with `action` as its handler, and returns the job."""
    monkeypatch.setitem(registry.installed(), "test:scripted", Scripted())
    saved = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    execution.install_signal_handlers(slots)

    def once(action: Action, **fields: Any) -> Job:
        make_type("test.scripted", handler="test:scripted")
        Scripted.action = staticmethod(action)
        job = make_job("test.scripted", **fields)
        execution.run_attempts([[Claimable(job.id, job.fence, WORKER, None)]], slots=slots)
        return Job.objects.get(pk=job.pk)

    yield once
    for number, handler in saved.items():
        signal.signal(number, handler)


def tell(slots: Slots, why: Why) -> None:
    """What the agent does to the attempt that runs."""
    (held,) = slots.held()
    slots.tell(held, why)
    os.kill(held.pid, execution.STOP_SIGNAL)


def log(job: Job) -> list[str]:
    return list(JobLog.objects.filter(job=job).values_list("message", flat=True))


def test_a_handlers_output_becomes_the_result(run: Run) -> None:
    job = run(lambda ctx: Anything(n=ctx.input.n + 1), input={"n": 41})

    assert (job.status, job.result) == (Status.SUCCEEDED, {"n": 42})


def test_a_noop_job_costs_at_most_six_statements_and_three_commits(run: Run) -> None:
    with CaptureQueriesContext(connection) as context:
        run(lambda ctx: Anything())

    sql = [query["sql"] for query in context.captured_queries]
    attempt = sql[next(n for n, text in enumerate(sql) if "SET status = 'running'" in text) : -1]  # the last is ours
    assert len(attempt) <= 6
    assert "BEGIN" not in attempt, "then each statement is one commit"
    assert len(attempt) <= 3


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        (AttemptFailed(errors.POLICY_DENIED, "no"), "POLICY_DENIED", "failed"),
        (AttemptFailed(errors.HANDLER_DISABLED, "off"), "HANDLER_DISABLED", "queued"),
        (Retry("later", after_sec=9), "UPSTREAM_ERROR", "queued"),
        (ValueError("odd"), "HANDLER_ERROR", "queued"),
        (FileNotFoundError(2, "gone"), "ENOENT", "queued"),
        (SystemExit(3), "HANDLER_ERROR", "queued"),
        (RecursionError(), "HANDLER_ERROR", "queued"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_way_to_fail_has_its_code_and_is_retried_or_not(
    run: Run, raised: BaseException, code: str, status: str
) -> None:
    def fail(ctx: JobContext[Anything]) -> None:
        raise raised

    job = run(fail, max_attempts=2)

    assert (error_of(job)["code"], job.status) == (code, status)


@pytest.mark.parametrize("bad", [[1], "text", {"n": "x"}])
def test_input_that_does_not_fit_is_permanent(run: Run, bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "checks_input_at_creation", False)

    job = run(lambda ctx: Anything(), input=bad, max_attempts=5)

    assert (job.status, error_of(job)["code"], job.attempts) == ("failed", "INPUT_INVALID", 1)


@pytest.mark.parametrize(
    "unstorable", [float("nan"), object(), "x" * (MAX_RESULT_BYTES + 1)], ids=["nan", "object", "large"]
)
def test_a_result_that_cannot_be_stored_fails_the_job_clearly(run: Run, unstorable: Any) -> None:
    job = run(lambda ctx: {"value": unstorable})

    assert (job.status, error_of(job)["code"]) == ("failed", "RESULT_INVALID")


def test_lines_are_live_while_the_handler_runs_and_in_order(run: Run) -> None:
    seen: list[list[str]] = []

    def talk(ctx: JobContext[Anything]) -> Anything:
        for n in range(5):
            ctx.log(f"line {n}")
        wait_until(lambda: "line 4" in log(Job.objects.get(pk=ctx.job_id)))
        seen.append(log(Job.objects.get(pk=ctx.job_id)))
        ctx.log("last")
        return Anything()

    job = run(talk)

    assert seen[0][2:] == [f"line {n}" for n in range(5)]
    assert log(job)[-2:] == ["last", "Job succeeded"]


def test_progress_is_stored_while_the_handler_runs(run: Run) -> None:
    def work(ctx: JobContext[Anything]) -> Anything:
        ctx.progress(0.5, "half")
        wait_until(lambda: Job.objects.get(pk=ctx.job_id).progress == {"fraction": 0.5, "message": "half"})
        return Anything()

    assert run(work).status == Status.SUCCEEDED


def test_the_soft_limit_raises_through_except_exception(run: Run) -> None:
    def stubborn(ctx: JobContext[Anything]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(30)
        except Exception:
            pytest.fail("swallowed")

    job = run(stubborn)

    assert (error_of(job)["code"], error_of(job)["message"]) == ("JOB_TIMEOUT", "timeout")
    assert Attempt.objects.get(job=job).outcome == "timed_out"


def test_a_cancelled_handler_writes_nothing_and_its_processes_are_gone(run: Run, slots: Slots) -> None:
    started: list[int] = []

    def work(ctx: JobContext[Anything]) -> None:
        started.append(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setsid=True))
        lifecycle.cancel(ctx.job_id, by="test")
        tell(slots, Why.NOT_ITS_OWN)

    job = run(work)

    assert job.status == Status.CANCELLED
    assert log(job)[-1] == "Job cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_a_late_result_after_a_cancel_changes_nothing_and_is_logged(run: Run) -> None:
    def work(ctx: JobContext[Anything]) -> Anything:
        lifecycle.cancel(ctx.job_id, by="test")
        return Anything(n=1)

    job = run(work)

    assert (job.status, job.result) == (Status.CANCELLED, None)
    assert log(job)[-1] == "Stale attempt ignored"


def test_the_agent_calls_time(run: Run, slots: Slots) -> None:
    def slow(ctx: JobContext[Anything]) -> None:
        tell(slots, Why.TIME_LIMIT)
        time.sleep(30)

    assert error_of(run(slow))["code"] == "JOB_TIMEOUT"


def test_a_request_to_stop_that_comes_late_stops_nothing_else(run: Run, slots: Slots) -> None:
    earlier: list[Held] = []

    def look(ctx: JobContext[Anything]) -> Anything:
        earlier.extend(slots.held())
        return Anything()

    run(look)

    def work(ctx: JobContext[Anything]) -> Anything:
        slots.tell(earlier[0], Why.NOT_ITS_OWN)
        os.kill(os.getpid(), execution.STOP_SIGNAL)
        return Anything(n=7)

    assert run(work).result == {"n": 7}


def test_an_attempt_told_to_stop_before_its_handler_began_never_begins(
    run: Run, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lifecycle.claim_all

    def claim_and_cancel(wanted: Sequence[Claimable]) -> Any:
        claims = real(wanted)
        lifecycle.cancel(wanted[0].id, by="test")
        tell(slots, Why.NOT_ITS_OWN)
        return claims

    monkeypatch.setattr(lifecycle, "claim_all", claim_and_cancel)

    assert run(lambda ctx: pytest.fail("ran")).status == Status.CANCELLED


def test_an_interrupt_outside_the_handler_hits_nobody(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), execution.STOP_SIGNAL)

    assert run(lambda ctx: Anything()).status == Status.SUCCEEDED


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"enabled": False}, "JOB_TYPE_DISABLED", "queued"),
        ({"handler": "nobody:here"}, "HANDLER_UNKNOWN", "failed"),
        (None, "JOB_TYPE_UNKNOWN", "failed"),
    ],
)
def test_a_type_that_changed_after_creation_fails_with_a_code(
    make_type: Any, make_job: Any, change: dict[str, Any] | None, code: str, status: str
) -> None:
    job_type = make_type()
    job = make_job(max_attempts=2)
    job_type.delete() if change is None else make_type(**change)

    execution.run_attempts([[Claimable(job.id, 0, WORKER, None)]])

    job.refresh_from_db()
    assert (error_of(job)["code"], job.status, job.attempts) == (code, status, 1)


def test_a_second_delivery_of_the_same_message_runs_nothing(run: Run) -> None:
    job = run(lambda ctx: Anything())

    execution.run_attempts([[Claimable(job.id, 0, WORKER, None)]])

    assert Attempt.objects.filter(job=job).count() == 1


def test_a_flood_of_lines_is_cut_with_a_note(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.log_buffer.MAX_LINES", 50)

    def flood(ctx: JobContext[Anything]) -> Anything:
        for n in range(200):
            ctx.log(f"line {n}")
        return Anything()

    lines = log(run(flood))

    assert len(lines) == 2 + 50 + 1
    assert "More than 50 log lines" in lines[-2]


def wait_until(condition: Callable[[], bool], timeout_sec: float = 20) -> None:
    deadline = time.monotonic() + timeout_sec
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
