"""The reconciler: what makes the system right on the timer alone. Run each second; any number may run at once."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now

from jobs import dispatch, lifecycle, nodes
from jobs.approvals import decisions
from jobs.models import BEAT_NODE, Job, Node, Status
from jobs.signals import happened
from jobs.sql import rows
from rauskuclaw import __version__, redis
from rauskuclaw.config import load
from rauskuclaw.wire import job_queue, redis_keys

logger = logging.getLogger("jobs.reconciler")

LOST_AFTER_SEC = 2.0
"""A published job that for so long was neither claimed nor is in Redis is published again."""
PASSED_OVER_SEC = 10.0
"""A published job whose message lies in Redis for so long goes before all others. Its turn had come; more urgent ones
that keep coming would pass it for ever, while it takes up a place of its queue's, type's and key's limits."""
BATCH = 500


@dataclass(frozen=True)
class Report:
    """What one run did: leases taken back, jobs too late, approvals that were not given, steps for groups, messages
    published again, and newly."""

    leases_expired: int
    jobs_expired: int
    approvals_closed: int
    group_steps: int
    republished: int
    published: int


def reconcile() -> Report:
    """Take back expired leases, end jobs that are too late or that nobody approved, settle groups, publish again what
    Redis lost, fill every window."""
    expired = take_back_expired_leases()
    late = lifecycle.expire(limit=BATCH)
    undecided = decisions.settle_old(limit=BATCH)
    group_steps = lifecycle.settle_groups(row["id"] for row in rows("groups_due", {"limit": BATCH}))
    # A job that was being made while its queue or type was paused may have been published all the same.
    rows("withdraw", {"queue": None, "type": None, "paused": True})
    republished = republish_lost()
    published = sum(dispatch.fill(row["queue"], row["pool"]) for row in rows("queues_with_backlog", {}))
    return Report(expired, late, undecided, group_steps, republished, published)


def note_beat() -> None:
    """Note that beat rang and this process, a system worker, heard it. One row, however many beats there are."""
    heard_by = nodes.this_process() | {"version": __version__, "seen_at": Now()}
    row = Node(id=BEAT_NODE, kind=Node.Kind.BEAT, name="beat", **heard_by)
    Node.objects.bulk_create([row], update_conflicts=True, unique_fields=["id"], update_fields=list(heard_by))


def take_back_expired_leases() -> int:
    """Requeue or fail running jobs whose worker was silent for a whole lease.

    After Postgres itself was away nobody could renew, so the first lease_sec after its start expire nothing.
    """
    found = rows("expired_leases", {"lease_sec": load().lease_sec, "limit": BATCH})
    reason = f"no sign of life for {load().lease_sec} s"
    taken = sum(lifecycle.lose(row["id"], row["fence"], reason=f"{row['locked_by']}: {reason}") for row in found)
    if taken:
        happened.send(sender=None, name="lease.expired", labels={}, count=taken)
    return taken


def republish_lost() -> int:
    """Publish again the jobs that should be in Redis and are not: after a flush, a failed push, a worker's death
    between taking the message and claiming the job. Move to the front what is there and is passed over."""
    params = {"lost_after_sec": LOST_AFTER_SEC, "passed_over_sec": PASSED_OVER_SEC, "limit": BATCH}
    stale = rows("stale_in_window", params)
    by_queue: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in stale:
        by_queue[job_queue(row["queue"], row["pool"])].append(row)
    count = 0
    for celery_queue, jobs in by_queue.items():
        try:
            present = _messages_in_redis(celery_queue)
            _move_to_front(celery_queue, [present[_message_id(job)] for job in jobs if _is_passed_over(job, present)])
        except redis.REDIS_ERRORS:
            return count
        lost = [job for job in jobs if _message_id(job) not in present]
        if lost and dispatch.publish(lost):
            # Counts as published now, so that the next runs leave it time to be claimed.
            Job.objects.filter(pk__in=[job["id"] for job in lost], status=Status.QUEUED).filter(
                published_at__isnull=False
            ).update(published_at=Now())
            happened.send(sender=None, name="job.republished", labels={}, count=len(lost))
            logger.info("republished %d jobs that Redis no longer held, queue %s", len(lost), celery_queue)
            count += len(lost)
    return count


def _message_id(job: Mapping[str, Any]) -> str:
    return dispatch.message_id(job["id"], job["fence"])


def _messages_in_redis(celery_queue: str) -> dict[str, tuple[str, bytes]]:
    """By attempt, as its own message's id: the list that holds it, the most urgent one of several, and the message."""
    keys = redis_keys(celery_queue)
    with redis.client().pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.lrange(key, 0, -1)
        lists = pipe.execute()
    found: dict[str, tuple[str, bytes]] = {}
    for key, messages in zip(keys, lists, strict=True):
        for message in messages:
            for job_id, fence in dispatch.Message.parse(message).attempts:
                found.setdefault(dispatch.message_id(job_id, fence), (key, message))
    return found


def _is_passed_over(job: Mapping[str, Any], present: Mapping[str, tuple[str, bytes]]) -> bool:
    key, _ = present.get(_message_id(job), (None, b""))
    return bool(job["passed_over"]) and key is not None and key != redis_keys(job_queue(job["queue"], job["pool"]))[0]


def _move_to_front(celery_queue: str, messages: Iterable[tuple[str, bytes]]) -> None:
    """Put messages behind those of the highest priority, where none can pass them any more."""
    with redis.client().pipeline() as pipe:
        for key, message in dict.fromkeys(messages):
            pipe.lrem(key, 1, message.decode())
            pipe.lpush(redis_keys(celery_queue)[0], message)
        pipe.execute()
