"""The agent's last resort: a worker that does not hear its queues restarts itself."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import pytest

from jobs import dispatch
from jobs.agent import Agent
from jobs.pools.process import ProcessPool
from rauskuclaw import redis


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
    dispatch.publish([{"id": "one", "queue": "default", "fence": 0, "priority": 3, "timeout_sec": 1}])

    agent._restart_if_messages_wait(waiting=1)

    assert terminations == [signal.SIGTERM]


def test_a_worker_whose_messages_redis_lost_goes_on(agent: Agent, terminations: list[int]) -> None:
    agent._restart_if_messages_wait(waiting=1)

    assert terminations == []
