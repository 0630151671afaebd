"""Names on the Redis wire, shared by those who publish and those who consume."""

from typing import Literal, get_args

KEY_PREFIX = "rauskuclaw:"
"""Prefix of every key this project makes in Redis."""

SYSTEM_QUEUE = "system"
"""Celery queue of the heartbeat work. Job queues carry a prefix, so no job queue can be named into it."""

PRIORITIES = range(10)
"""kombu's Redis priorities, 0 first; a list each."""

_SEPARATOR = "\x06\x16"


PoolName = Literal["process", "io"]
"""What a job runs in: a process of its own, or the event loop of an I/O worker. Its handler says which."""

POOLS: tuple[PoolName, ...] = get_args(PoolName)
_POOL_PREFIXES: dict[str, str] = {"process": "job", "io": "io"}


def job_queue(queue: str, pool: str = "process") -> str:
    """The Celery queue of a job queue: each pool has its own. pool: a PoolName."""
    return f"{_POOL_PREFIXES[pool]}:{queue}"


def redis_keys(celery_queue: str) -> list[str]:
    """The Redis lists of a Celery queue, most urgent first (kombu's `Channel._q_for_pri`)."""
    return [redis_key(celery_queue, priority) for priority in PRIORITIES]


def redis_key(celery_queue: str, priority: int) -> str:
    """The Redis list that holds a Celery queue's messages of one priority."""
    return f"{KEY_PREFIX}{celery_queue}" + (f"{_SEPARATOR}{priority}" if priority else "")


def wire_priority(job_priority: int) -> int:
    """A job's priority (0..10, 10 first) → kombu's (0..9, 0 first). 1 and 0 share the last list."""
    return min(9, 10 - job_priority)
