from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py

from jobs.models import Node
from rauskuclaw import redis
from rauskuclaw.config import load
from rauskuclaw.wire import KEY_PREFIX, job_queue, redis_keys
from tests.conftest import NODE


@pytest.fixture
def wire() -> Iterator[redis_py.Redis]:
    """This test's own Redis, empty of our keys before and after."""
    client = redis_py.Redis.from_url(load().redis_url.get_secret_value())  # type: ignore[union-attr]
    keys = client.keys(f"{KEY_PREFIX}*")
    if keys:
        client.delete(*keys)
    redis.forget()
    yield client
    keys = client.keys(f"{KEY_PREFIX}*")
    if keys:
        client.delete(*keys)


@pytest.fixture
def published(wire: redis_py.Redis) -> Callable[..., list[bytes]]:
    """The messages in a job queue's lists, in the order a worker would take them."""

    def messages(queue: str = "default") -> list[bytes]:
        lists: list[Any] = [reversed(wire.lrange(key, 0, -1)) for key in redis_keys(job_queue(queue))]
        return [message for messages in lists for message in messages]

    return messages


@pytest.fixture
def make_node(db: None) -> Callable[..., Node]:
    """A live worker on the queue default."""

    def make(concurrency: int = 2, queues: tuple[str, ...] = ("default",)) -> Node:
        return Node.objects.create(
            id=NODE, kind=Node.Kind.WORKER, name="w", host="h", pid=1, pid_created_at=0, queues=list(queues),
            concurrency=concurrency, version="0",
        )  # fmt: skip

    return make
