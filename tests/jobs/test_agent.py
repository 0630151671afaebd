"""What the agent does as a last resort: it kills processes that outlive their limits, and a worker that is deaf."""

from __future__ import annotations

import multiprocessing
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from typing import Any

import pytest

from jobs import dispatch
from jobs.agent import Agent
from jobs.pools import Death, End
from jobs.pools.process import ProcessPool
from jobs.slots import Slots
from rauskuclaw import redis
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
