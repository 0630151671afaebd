"""What an I/O worker does with its messages. Whole workers, killed and blocked: tests/chaos/test_io.py."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from django.db import connection
from pydantic import BaseModel

from jobs import lifecycle
from jobs.handlers import database, registry
from jobs.handlers.base import AsyncHandler, AsyncJobContext, AttemptFailed, Retry
from jobs.models import Attempt, Job, JobLog, Status
from jobs.pools import End
from jobs.pools import io as io_pool
from jobs.pools.io import IOPool
from jobs.slots import Held, Why
from jobs.transitions import Claimable
from rauskuclaw import errors
from tests.conftest import NODE, WORKER, error_of

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = 40


class Anything(BaseModel):
    """Input and output of the handler below."""

    n: int = 0


Action = Callable[[AsyncJobContext[Anything]], Awaitable[Any]]


class Scripted(AsyncHandler[Anything, Anything]):
    """Does what the test says."""

    id = "test:async-scripted"
    Input = Anything
    Output = Anything
    action: ClassVar[Action]

    async def arun(self, ctx: AsyncJobContext[Anything]) -> Any:
        return await type(self).action(ctx)


@pytest.fixture(scope="module")
def shared_pool() -> IOPool:
    """One for all tests: its threads live as long as the process."""
    return IOPool(NODE, PLACES)


@pytest.fixture
def pool(shared_pool: IOPool) -> Iterator[IOPool]:
    yield shared_pool
    assert shared_pool.held() == []


Run = Callable[..., Future[Job]]


@pytest.fixture
def run(make_type: Any, make_job: Any, pool: IOPool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`run(action, **job)` makes a job and runs one attempt of it as one of Celery's threads does; the job, later."""
    monkeypatch.setitem(registry.installed(), Scripted.id, Scripted())
    make_type("test.async", handler=Scripted.id)
    with ThreadPoolExecutor(PLACES) as threads:

        def carry(job: Job) -> None:
            pool.run(job.id, job.fence, worker=WORKER)

        def once(action: Action, **fields: Any) -> Future[Job]:
            Scripted.action = staticmethod(action)
            job = make_job("test.async", **fields)
            # More than a window holds where no worker has said that it lives.
            Job.objects.filter(pk=job.pk, published_at=None).update(published_at=job.created_at)
            done: Future[Job] = Future()
            carried = threads.submit(carry, job)
            carried.add_done_callback(lambda _: done.set_result(job))
            return done

        yield once
        # After a failure, handlers that wait for ever would keep the threads.
        for held in pool.held():
            pool.kill(held)


def ended(job: Future[Job]) -> Job:
    """The job as its row says once its attempt is over."""
    return Job.objects.get(pk=job.result(30).pk)


def wait_until(condition: Callable[[], Any], timeout_sec: float = 20) -> Any:
    deadline = time.monotonic() + timeout_sec
    while not (value := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return value


def the_one(pool: IOPool) -> Held:
    """The attempt that runs, once its handler does."""
    wait_until(lambda: any(attempt.handler for attempt in pool._running()))
    (held,) = pool.held()
    return held


def log(job: Job) -> list[str]:
    return list(JobLog.objects.filter(job=job).order_by("id").values_list("message", flat=True))


async def for_ever(_ctx: AsyncJobContext[Anything]) -> Anything:
    await asyncio.sleep(3600)
    return Anything()


def test_jobs_of_an_async_handler_are_of_the_io_pool(run: Run) -> None:
    async def work(ctx: AsyncJobContext[Anything]) -> Anything:
        return Anything(n=ctx.input.n + 1)

    job = ended(run(work, input={"n": 41}))

    assert (job.pool, job.status, job.result) == ("io", Status.SUCCEEDED, {"n": 42})


def test_all_places_at_once_share_few_connections(run: Run) -> None:
    arrived: set[uuid.UUID] = set()

    async def meet(ctx: AsyncJobContext[Anything]) -> Anything:
        ctx.log("waiting for the others")
        arrived.add(ctx.job_id)
        while len(arrived) < PLACES:
            await asyncio.sleep(0.01)
        return Anything()

    jobs = [run(meet) for _ in range(PLACES)]

    assert {ended(job).status for job in jobs} == {Status.SUCCEEDED}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        (connections,) = cursor.fetchone()
    # This one, the writer of logs, and those that handlers of other tests have used in this process.
    assert connections <= io_pool.DATABASE_THREADS + database.THREADS + 2


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        (AttemptFailed(errors.POLICY_DENIED, "no"), "POLICY_DENIED", "failed"),
        (Retry("later", after_sec=9), "UPSTREAM_ERROR", "queued"),
        (ValueError("odd"), "HANDLER_ERROR", "queued"),
        (asyncio.CancelledError(), "HANDLER_ERROR", "queued"),
        (SystemExit(3), "HANDLER_ERROR", "queued"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_way_to_fail_has_its_code_and_is_retried_or_not(
    run: Run, raised: BaseException, code: str, status: str
) -> None:
    async def fail(ctx: AsyncJobContext[Anything]) -> None:
        raise raised

    job = ended(run(fail, max_attempts=2))

    assert (error_of(job)["code"], job.status) == (code, status)


def test_a_cancelled_handler_is_cancelled_where_it_waits_and_writes_nothing(run: Run, pool: IOPool) -> None:
    cleaned_up = threading.Event()

    async def work(ctx: AsyncJobContext[Anything]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned_up.set()

    job = run(work)
    held = the_one(pool)
    lifecycle.cancel(held.job_id, by="test")
    pool.interrupt(held, Why.NOT_ITS_OWN)

    assert ended(job).status == Status.CANCELLED
    assert log(job.result())[-1] == "Job cancelled"
    assert cleaned_up.is_set()


def test_an_attempt_told_to_stop_before_its_handler_began_never_begins(
    run: Run, pool: IOPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lifecycle.claim_all

    def claim_and_cancel(wanted: Sequence[Claimable]) -> Any:
        claims = real(wanted)
        lifecycle.cancel(wanted[0].id, by="test")
        pool.interrupt(pool.held()[0], Why.NOT_ITS_OWN)
        return claims

    async def work(ctx: AsyncJobContext[Anything]) -> None:
        pytest.fail("ran")

    monkeypatch.setattr(lifecycle, "claim_all", claim_and_cancel)

    job = ended(run(work))

    assert (job.status, log(job)[-1]) == (Status.CANCELLED, "Job cancelled")


def test_the_time_limit_ends_the_attempt_with_its_code(run: Run, pool: IOPool) -> None:
    job = run(for_ever)
    pool.interrupt(the_one(pool), Why.TIME_LIMIT)

    assert error_of(ended(job))["code"] == "JOB_TIMEOUT"
    assert Attempt.objects.get(job=job.result()).outcome == "timed_out"


def test_how_it_ends_at_its_time_limit_is_the_handlers_to_say(run: Run, pool: IOPool) -> None:
    async def make_do(ctx: AsyncJobContext[Anything]) -> Anything:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            assert ctx.cancelled
        return Anything(n=7)

    job = run(make_do)
    pool.interrupt(the_one(pool), Why.TIME_LIMIT)

    assert ended(job).result == {"n": 7}


def test_a_request_to_stop_that_comes_late_stops_nothing_else(run: Run, pool: IOPool) -> None:
    first = run(for_ever)
    earlier = the_one(pool)
    pool.interrupt(earlier, Why.TIME_LIMIT)
    ended(first)

    async def work(ctx: AsyncJobContext[Anything]) -> Anything:
        pool.interrupt(earlier, Why.NOT_ITS_OWN)
        await asyncio.sleep(0.1)
        return Anything(n=1)

    assert ended(run(work)).result == {"n": 1}


def test_a_coroutine_that_ignores_its_end_is_given_up_and_told_again(run: Run, pool: IOPool) -> None:
    told: list[float] = []
    gone = threading.Event()

    async def deaf(ctx: AsyncJobContext[Anything]) -> None:
        while len(told) < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                told.append(time.monotonic())
        gone.set()

    job = run(deaf)
    held = the_one(pool)
    lifecycle.cancel(held.job_id, by="test")
    pool.interrupt(held, Why.NOT_ITS_OWN)
    wait_until(lambda: told)
    assert pool.kill(held)

    assert ended(job).status == Status.CANCELLED
    assert not pool.runs(held)
    assert gone.wait(20)


def test_an_attempt_that_overruns_its_hard_limit_is_a_death(
    run: Run, pool: IOPool, configure: Callable[..., Any]
) -> None:
    configure(HARD_LIMIT_GRACE_SEC=0.5)
    over = threading.Event()

    async def deaf(ctx: AsyncJobContext[Anything]) -> None:
        while not over.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                ctx.log("no")

    job = run(deaf, timeout_sec=1)
    held = the_one(pool)
    (death,) = wait_until(pool.deaths)

    assert (death.held.key, death.end) == (held.key, End.TIMED_OUT)
    assert ended(job).status == Status.RUNNING, "the agent tells the row"
    over.set()


def test_what_a_handler_leaves_running_ends_with_its_attempt(run: Run) -> None:
    ended_too = threading.Event()

    async def linger() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended_too.set()

    async def work(ctx: AsyncJobContext[Anything]) -> Anything:
        left.append(asyncio.create_task(linger()))
        await asyncio.sleep(0)
        return Anything()

    left: list[asyncio.Task[None]] = []

    assert ended(run(work)).status == Status.SUCCEEDED
    assert ended_too.wait(20)


def test_a_task_that_would_end_the_process_does_not(run: Run) -> None:
    async def leave() -> None:
        sys.exit(1)

    async def work(ctx: AsyncJobContext[Anything]) -> Anything:
        left.append(asyncio.create_task(leave()))
        await asyncio.sleep(0.05)
        return Anything(n=1)

    left: list[asyncio.Task[None]] = []

    assert ended(run(work)).result == {"n": 1}
    assert isinstance(left[0].exception(), SystemExit)


def test_a_second_delivery_of_the_same_message_runs_nothing(run: Run, pool: IOPool) -> None:
    async def work(ctx: AsyncJobContext[Anything]) -> Anything:
        return Anything()

    job = ended(run(work))

    pool.run(job.id, 0, worker=WORKER)

    assert Attempt.objects.filter(job=job).count() == 1


def test_a_job_whose_handler_is_of_another_pool_now_goes_there(pool: IOPool, make_job: Any) -> None:
    job = make_job(max_attempts=2)
    Job.objects.filter(pk=job.pk).update(pool="io")

    pool.run(job.id, 0, worker=WORKER)

    job.refresh_from_db()
    assert (job.status, job.pool) == (Status.QUEUED, "process")


def test_a_blocked_loop_is_found_with_whom_to_blame(
    make_type: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_pool, "BLOCKED_AFTER_SEC", 1.5)
    monkeypatch.setitem(registry.installed(), Scripted.id, Scripted())
    make_type("test.async", handler=Scripted.id)
    pool, over = IOPool(NODE, 2), threading.Event()

    async def step(ctx: AsyncJobContext[Anything]) -> None:
        over.wait()

    async def innocent_or_not(ctx: AsyncJobContext[Anything]) -> None:
        await (asyncio.gather(step(ctx)) if ctx.input.n else asyncio.sleep(3600))

    Scripted.action = staticmethod(innocent_or_not)
    innocent, culprit = make_job("test.async"), make_job("test.async", input={"n": 1})
    carriers = [
        threading.Thread(target=pool.run, args=(job.id, 0), kwargs={"worker": WORKER}, daemon=True)
        for job in (innocent, culprit)
    ]
    carriers[0].start()
    the_one(pool)
    assert pool.deaths() == []
    carriers[1].start()

    deaths = {death.held.job_id: death for death in wait_until(pool.deaths)}

    assert pool.is_broken
    assert {job_id: death.end for job_id, death in deaths.items()} == {innocent.id: End.LOST, culprit.id: End.AT_FAULT}
    assert "threading.wait" in deaths[culprit.id].detail
    assert pool.deaths() == [], "told once"
    over.set()
    pool.kill(deaths[innocent.id].held)
    for carrier in carriers:
        carrier.join(20)
