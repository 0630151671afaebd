"""What the agent does as a last resort: it kills processes that outlive their limits, and a worker that is deaf."""

from __future__ import annotations

import multiprocessing
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from typing import Any, cast

import pytest
from django.db.models.functions import Now

from jobs import dispatch, lifecycle
from jobs.agent import Agent
from jobs.models import Attempt, Job, Node
from jobs.nodes import host_identity
from jobs.pools import Death, End
from jobs.pools.process import ProcessPool
from jobs.requests import NewJob
from jobs.slots import Slots, file_of
from jobs.submission import Submitted, submit_batch
from jobs.transitions import Claimable
from rauskuclaw import redis
from tests.conftest import WORKER
from tests.running import wait_until


@pytest.fixture
def terminations() -> Iterator[list[int]]:
    """The SIGTERMs this process has sent itself."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    redis.client().flushdb()
    yield received
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def agent() -> Agent:
    node = uuid.uuid4()
    return Agent(node, ProcessPool(node, 1), queues=["default"])


def test_an_idle_worker_beside_messages_restarts(agent: Agent, terminations: list[int]) -> None:
    dispatch.publish(
        [
            {
                "id": str(uuid.uuid4()),
                "queue": "default",
                "pool": "process",
                "fence": 0,
                "priority": 3,
                "timeout_sec": 1,
                "short": False,
            }
        ]
    )

    agent._restart_if_messages_wait(waiting=1)

    assert terminations == [signal.SIGTERM]


def test_a_worker_whose_messages_redis_lost_goes_on(agent: Agent, terminations: list[int]) -> None:
    agent._restart_if_messages_wait(waiting=1)

    assert terminations == []


def overrun(slots: Slots, job_id: uuid.UUID, timeout_sec: int, running: Event) -> None:
    """A pool process whose handler ignores every interrupt."""
    slots.join()
    slots.take(job_id, 1, timeout_sec=timeout_sec)
    running.set()
    time.sleep(60)


@pytest.mark.parametrize(("timeout_sec", "killed"), [(0, True), (60, False)])
def test_an_attempt_is_killed_at_its_own_hard_limit_whatever_its_messages_is(
    configure: Callable[..., Any], timeout_sec: int, killed: bool
) -> None:
    configure(HARD_LIMIT_GRACE_SEC=0.5)
    pool, job_id, fork = ProcessPool(uuid.uuid4(), 1), uuid.uuid4(), multiprocessing.get_context("fork")
    running = fork.Event()
    process = fork.Process(target=overrun, args=(pool.slots, job_id, timeout_sec, running))
    process.start()
    running.wait(30)
    deaths: list[Death] = []

    def judged() -> bool:
        deaths.extend(pool.deaths())
        return bool(deaths) or not killed

    try:
        wait_until(judged, what="the pool to lose patience")
        assert [(death.held.key, death.end) for death in deaths] == [((job_id, 1), End.TIMED_OUT)] * killed
        if killed:
            process.join()
            assert process.exitcode == -signal.SIGKILL
    finally:
        process.kill()
        process.join()


def hold(slots: Slots, keys: list[tuple[uuid.UUID, int]], place: int, timeout_sec: int, running: Event) -> None:
    """A pool process that has come so far in a bundle, and comes no further."""
    slots.join()
    slots.take_all(keys)
    slots.take(*keys[place], timeout_sec=timeout_sec)
    running.set()
    time.sleep(60)


@pytest.fixture
def bundle(agent: Agent, make_type: Callable[..., Any]) -> list[tuple[uuid.UUID, int]]:
    """Attempts that this worker has claimed together."""
    make_type()
    made = submit_batch([NewJob(type="report.generate", max_attempts=2)] * 4, created_by="test")
    jobs = [item.job for item in made if isinstance(item, Submitted)]
    Job.objects.update(published_at=Now())
    wanted = [Claimable(job.id, 0, WORKER, agent.node) for job in jobs]
    return [(it.id, it.fence) for it in lifecycle.claim_all(wanted)]


@pytest.fixture
def holder(agent: Agent, bundle: list[tuple[uuid.UUID, int]]) -> Iterator[Callable[[int], Any]]:
    """`holder(timeout_sec)` starts a process that runs the second one of the bundle."""
    started: list[Any] = []

    def start(timeout_sec: int) -> Any:
        fork = multiprocessing.get_context("fork")
        running = fork.Event()
        slots = cast(ProcessPool, agent.pool).slots
        started.append(fork.Process(target=hold, args=(slots, bundle, 1, timeout_sec, running)))
        started[-1].start()
        assert running.wait(30)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def outcomes(keys: list[tuple[uuid.UUID, int]]) -> list[str]:
    found = {attempt.job_id: attempt.outcome for attempt in Attempt.objects.all()}
    return [found[job_id] for job_id, _ in keys]


def attempts_left(keys: list[tuple[uuid.UUID, int]]) -> list[int]:
    jobs = Job.objects.in_bulk([job_id for job_id, _ in keys])
    return [jobs[job_id].max_attempts - jobs[job_id].attempts for job_id, _ in keys]


def settle_deaths(agent: Agent) -> bool:
    """As the agent does on its rounds. Returns whether there were any."""
    agent._deaths.extend(agent.pool.deaths())
    found = bool(agent._deaths)
    agent._settle_deaths()
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("reported", [True, False], ids=["reported by Celery", "found gone"])
def test_of_a_killed_process_only_what_it_had_begun_is_lost(
    agent: Agent, bundle: list[tuple[uuid.UUID, int]], holder: Any, monkeypatch: pytest.MonkeyPatch, reported: bool
) -> None:
    pool = cast(ProcessPool, agent.pool)
    monkeypatch.setattr("jobs.pools.process.UNREPORTED_SEC", 3600.0 if reported else 0.0)
    process = holder(60)
    process.kill()
    process.join()
    if reported:
        pool.process_failed(process.pid, timed_out=False, detail="signal 9")

    wait_until(lambda: settle_deaths(agent), what="the death to be seen")

    assert outcomes(bundle) == ["lost", "lost", "unbegun", "unbegun"]
    assert attempts_left(bundle) == [1, 1, 2, 2]
    assert set(Job.objects.values_list("status", flat=True)) == {"queued"}
    assert pool.slots.pids() == []


@pytest.mark.django_db(transaction=True)
def test_one_killed_at_its_hard_limit_is_the_only_one_that_timed_out(
    agent: Agent, bundle: list[tuple[uuid.UUID, int]], holder: Any, configure: Callable[..., Any]
) -> None:
    configure(HARD_LIMIT_GRACE_SEC=0.5)
    holder(0)

    wait_until(lambda: settle_deaths(agent), what="the pool to lose patience")

    assert outcomes(bundle) == ["lost", "timed_out", "unbegun", "unbegun"]


@pytest.mark.django_db(transaction=True)
def test_what_had_been_told_before_the_process_died_stays_as_it_is(
    agent: Agent, bundle: list[tuple[uuid.UUID, int]], holder: Any
) -> None:
    process = holder(60)
    lifecycle.succeed(*bundle[0], result={})
    lifecycle.cancel(bundle[2][0], by="test")
    process.kill()
    process.join()
    cast(ProcessPool, agent.pool).process_failed(process.pid, timed_out=False, detail="signal 9")

    assert settle_deaths(agent)

    assert outcomes(bundle) == ["succeeded", "lost", "cancelled", "unbegun"]


@pytest.mark.django_db(transaction=True)
def test_of_a_dead_worker_only_what_it_had_begun_is_lost(
    agent: Agent, bundle: list[tuple[uuid.UUID, int]], holder: Any
) -> None:
    process = holder(60)
    process.kill()
    process.join()
    Node.objects.create(
        id=agent.node, kind=Node.Kind.WORKER, name="w", host=host_identity(), pid=process.pid, pid_created_at=0,
        queues=["default"], concurrency=1, version="0",
    )  # fmt: skip

    after = Agent(uuid.uuid4(), ProcessPool(uuid.uuid4(), 1), queues=["default"])
    after._bury_dead_nodes()

    assert outcomes(bundle) == ["lost", "lost", "unbegun", "unbegun"]
    assert not file_of(agent.node).exists()
