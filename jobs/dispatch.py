"""Publishing: which jobs go into their queue's bounded window in Redis.

Postgres decides (jobs/sql/create.sql for the job just made, fill.sql for all others); Redis carries. Every push here
may fail: what Redis never got, or lost, the reconciler publishes again.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import ceil
from typing import Any, NamedTuple, Self, cast

from django.db import transaction

from jobs.slots import BUNDLE_MOST
from jobs.sql import rows, rows_together
from rauskuclaw import redis
from rauskuclaw.config import load
from rauskuclaw.wire import POOLS, PRIORITIES, SYSTEM_QUEUE, job_queue, redis_key, wire_priority

logger = logging.getLogger("jobs.dispatch")

TASK_RUN_ATTEMPT = "jobs.run_attempt"
TASK_DELIVER_CALLBACKS = "jobs.deliver_callbacks"
WINDOW_MIN = 8
"""Published jobs a queue may hold while no worker is on it: the first one to come starts at once."""
SHORT_PER_PLACE = 32
"""So many short jobs take up one place of a window."""
NODE_TTL_SEC = 15.0
"""A node that has not said for so long that it lives does not count."""
CHAIN_SEC = 1.0
"""So long after a message came its process may start further messages' jobs; Celery's limits strike as much later."""
MAX_QUEUED_RINGS = 100
"""Messages of the heartbeat that may wait in Redis; each one does all that is due, so more would say nothing new."""


def window_params() -> dict[str, Any]:
    """The window's size, as the SQL files take it: twice (by default) the capacity of the live workers on the queue."""
    return {
        "short_per_place": SHORT_PER_PLACE,
        "window_min": WINDOW_MIN,
        "window_factor": load().dispatch_window_factor,
        "node_ttl_sec": NODE_TTL_SEC,
    }


def ageing_sec() -> float:
    """Seconds of age that count as much as a step of priority; a hundred years where ageing is off."""
    return load().priority_ageing_sec or 3.2e9


def fill(queue: str, pool: str, *, wait: bool = True) -> int:
    """Publish the best due jobs of `queue` for `pool` up to their window. Returns how many.

    wait: whether to queue up behind another filler of it; if not, its work is left to it and 0 returned.
    """
    _, found = rows_together(("fill_lock", {"queue": queue, "wait": wait}), ("fill", _fill_params(queue, pool)))
    publish(found)
    return len(found)


def _fill_params(queue: str, pool: str) -> dict[str, Any]:
    return {"queue": queue, "pool": pool, "ageing_sec": ageing_sec(), **window_params()}


def after_commit(step: Callable[[], object]) -> None:
    """Do what follows from a transaction once it has committed, and now where there is none.

    Its failure is logged and leaves the caller's success alone: the rows say what happened, and the reconciler goes on.
    """

    def afterwards() -> None:  # Django's report of a failure needs a function that has a name
        step()

    transaction.on_commit(afterwards, robust=True)


def renew_window(queue: str, *, type: str | None = None) -> None:
    """A pause or a limit has changed: take back what is published (of one type) and publish what may be, now.

    Behind other fillers, so that none of them publishes by the old rules after this.
    """
    with transaction.atomic():
        rows("fill_lock", {"queue": queue, "wait": True})
        rows("withdraw", {"queue": queue, "type": type, "paused": False})
        found = [job for pool in POOLS for job in rows("fill", _fill_params(queue, pool))]
    publish(found)


def renew_windows_of(type: str) -> None:
    """`renew_window` for every queue that may have jobs of the type to publish or to take back."""
    of_type, backlogs = rows("queues_in_window", {"type": type}), rows("queues_with_backlog", {})
    for queue in sorted({row["queue"] for row in [*of_type, *backlogs]}):
        renew_window(queue, type=type)


def publish(jobs: Iterable[Mapping[str, Any]]) -> bool:
    """Push one message a job, or for several short ones, in the given order, in one round trip. False if Redis did not
    take them.

    jobs: mappings with id, queue, pool, fence, priority, timeout_sec, short; their rows already say `published_at`.
    Those that fill.sql found also say how many slots there are, and are shared out among these.
    """
    messages = [
        (redis_key(job_queue(of[0]["queue"], of[0]["pool"]), wire_priority(of[0]["priority"])), _attempts_message(of))
        for of in _bundles(list(jobs))
    ]
    if not messages:
        return True
    try:
        with redis.client().pipeline(transaction=False) as pipe:
            for key, message in messages:
                pipe.lpush(key, message)
            pipe.execute()
    except redis.REDIS_ERRORS as error:
        logger.info("%d jobs not published now (%s); the reconciler will", len(messages), type(error).__name__)
        return False
    return True


def _bundles(jobs: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """What goes into each message, in order. Short jobs go together that are alike in all that a message says."""
    short = sum(job["short"] for job in jobs)
    bundles: list[list[Mapping[str, Any]]] = []
    open_: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for job in jobs:
        share = min(BUNDLE_MOST, ceil(short / job["slots"])) if job["short"] and job.get("slots") else 1
        alike = tuple(job[name] for name in ("queue", "pool", "priority", "timeout_sec", "short"))
        if share == 1 or len(open_.get(alike, ())) in {0, share}:
            bundles.append([])
            open_[alike] = bundles[-1]
        open_[alike].append(job)
    return bundles


class Message(NamedTuple):
    """What a message says: which jobs to attempt, with the fence of each, and the time limit of every one."""

    attempts: tuple[tuple[uuid.UUID, int], ...]
    timeout_sec: int

    @classmethod
    def of(cls, kwargs: Mapping[str, Any], limits: Sequence[float]) -> Self:
        """From the arguments of its task, and its [hard, soft] limits."""
        attempts = [(kwargs["job_id"], kwargs["fence"]), *kwargs.get("more", ())]
        return cls(tuple((uuid.UUID(job_id), fence) for job_id, fence in attempts), round(limits[1] - CHAIN_SEC))

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """From what Redis holds."""
        message = json.loads(text)
        return cls.of(json.loads(message["body"])[1], message["headers"]["timelimit"])


def take_next(queues: Sequence[str], *, max_timeout_sec: int) -> Message | None:
    """Take the next message of these job queues off Redis, as a worker would: most urgent first. None: there is none.

    One with a longer time limit than `max_timeout_sec` is put back, with None: only Celery can give it its time.
    """
    keys = _keys(tuple(queues))
    try:
        taken = cast(list[Any] | None, redis.client().lmpop(len(keys), *keys, direction="RIGHT"))
        if not taken:
            return None
        key, (text,) = taken
        message = Message.parse(text)
        if message.timeout_sec > max_timeout_sec:
            redis.client().rpush(key, text)
            return None
    except redis.REDIS_ERRORS as error:
        # Redis before 7.0 has no LMPOP, and one that is away has no messages: Celery's own consumer goes on.
        logger.debug("no next message: %s", error)
        return None
    return message


@cache
def _keys(queues: tuple[str, ...]) -> list[str]:
    return [redis_key(job_queue(queue), priority) for priority in PRIORITIES for queue in queues]


def ring_callbacks() -> None:
    """Wake the system worker to deliver callbacks now instead of at beat's next tick."""
    ring(TASK_DELIVER_CALLBACKS)


def ring(task: str) -> None:
    """Have a system worker run a task of the heartbeat. Rings that nobody takes do not pile up."""
    key = redis_key(SYSTEM_QUEUE, 0)
    message = _message(task, str(uuid.uuid4()), {}, queue=SYSTEM_QUEUE)
    try:
        with redis.client().pipeline(transaction=False) as pipe:
            pipe.lpush(key, message)
            pipe.ltrim(key, -MAX_QUEUED_RINGS, -1)
            pipe.execute()
    except redis.REDIS_ERRORS:
        logger.debug("%s was not rung; beat's next tick does", task)


def message_id(job_id: uuid.UUID | str, fence: int) -> str:
    """The Celery task id of the message for one attempt, or for it and more."""
    return f"{job_id}:{fence}"


def _attempts_message(jobs: Sequence[Mapping[str, Any]]) -> str:
    job, soft = jobs[0], jobs[0]["timeout_sec"]
    kwargs: dict[str, Any] = {"job_id": str(job["id"]), "fence": job["fence"]}
    if len(jobs) > 1:
        kwargs["more"] = [(str(other["id"]), other["fence"]) for other in jobs[1:]]
    return _message(
        TASK_RUN_ATTEMPT,
        message_id(job["id"], job["fence"]),
        kwargs,
        queue=job_queue(job["queue"], job["pool"]),
        priority=wire_priority(job["priority"]),
        limits=[soft + CHAIN_SEC + load().hard_limit_grace_sec, soft + CHAIN_SEC],
    )


def _message(
    task: str,
    task_id: str,
    kwargs: Mapping[str, Any],
    *,
    queue: str,
    priority: int = 0,
    limits: Sequence[float | None] = (None, None),
) -> str:
    """A task message as kombu's Redis transport stores it: Celery's message protocol, version 2.

    limits: [hard, soft] in seconds. Written by hand because Celery publishes one message a round trip, and a window
    is filled in one.
    """
    headers = {
        "lang": "py", "task": task, "id": task_id, "root_id": task_id, "parent_id": None, "group": None,
        "shadow": None, "eta": None, "expires": None, "retries": 0, "timelimit": limits,
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "rauskuclaw", "ignore_result": True,
    }  # fmt: skip
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    properties = {
        "correlation_id": task_id, "delivery_mode": 2, "delivery_tag": task_id, "priority": priority,
        "body_encoding": "utf-8", "delivery_info": {"exchange": "", "routing_key": queue},
    }  # fmt: skip
    return json.dumps(
        {
            "body": json.dumps([[], kwargs, embedded]),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )
