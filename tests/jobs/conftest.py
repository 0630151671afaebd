from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from django.db import connection

from jobs import bundle
from jobs.models import Node
from rauskuclaw import redis
from rauskuclaw.config import load
from rauskuclaw.wire import KEY_PREFIX, job_queue, redis_keys
from tests.conftest import NODE
from tests.jobs.bundles import Make, Short, maker


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


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes a bundle apart but what a test does for it (`overdue`), however slow this machine is."""
    monkeypatch.setattr(bundle, "PATIENCE_SEC", 3600.0)


@pytest.fixture
def make_short(make_type: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A short job, and what its handler does."""
    return maker(Short, make_type, make_job, monkeypatch)


@pytest.fixture
def refused() -> Iterator[dict[str, str]]:
    """A result that Postgres does not take."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job ADD CONSTRAINT of_a_test CHECK (result->>'refuse' IS NULL)")
    yield {"refuse": "me"}
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job DROP CONSTRAINT of_a_test")
