"""Queues: how busy each is, and an operator's word on it. Each change is in the audit log and acts at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict

from access import audit
from access.principals import Principal
from jobs import bodies, dispatch, nodes, queries
from jobs.models import Node, Queue
from jobs.sql import rows
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import QUEUE


class QueueChange(BaseModel):
    """What can be said of a queue. max_running None: no limit."""

    model_config = ConfigDict(strict=True, extra="forbid")

    paused: bool = False
    max_running: bodies.Limit | None = None


@dataclass(frozen=True)
class QueueOverview:
    """How busy a queue is. Jobs that wait for dependencies are not counted."""

    name: str
    paused: bool
    max_running: int | None
    waiting: int
    """Due jobs that are not handed to the workers yet."""
    due_later: int
    """Queued jobs that are not due yet: retries and debounced ones."""
    more_waiting: bool
    """Whether counting the two above stopped at `queries.COUNTED_JOBS`."""
    oldest_waiting_sec: float | None
    """How long the first of the waiting ones counted has been due; None where none waits."""
    in_window: int
    """Jobs handed to the workers that none has begun."""
    running: int
    workers: int
    slots: int
    """Jobs that the live workers of the queue can run at once; a worker of several queues counts in each."""

    def as_json(self) -> dict[str, Any]:
        """As the API shows it."""
        return asdict(self)


def parse_change(body: object) -> QueueChange:
    """The body of PATCH /v1/queues/{name}. Raises VALIDATION_ERROR, also when it holds nothing to change."""
    change = bodies.parse(QueueChange, body)
    if not change.model_fields_set:
        raise Problem(errors.VALIDATION_ERROR, "Nothing to change: send at least one of paused, max_running.")
    return change


def overviews(principal: Principal) -> list[QueueOverview]:
    """Every queue that a job was on, a live worker consumes or a row names, and that `principal` may see; by name."""
    allowed = principal.queue_allowlist
    return _overviews(None if allowed is None else list(allowed))


def overview(name: str, *, principal: Principal) -> QueueOverview:
    """One queue. Raises FORBIDDEN for one that `principal` may not use, NOT_FOUND for one that nothing names."""
    _require(name, principal)
    if not (found := _overviews([name])):
        raise Problem(errors.NOT_FOUND, f"No job, worker or setting names the queue {name!r}: GET /v1/queues.")
    return found[0]


def _overviews(names: list[str] | None) -> list[QueueOverview]:
    workers, slots = Counter[str](), Counter[str]()
    for node in nodes.alive(Node.objects.filter(kind=Node.Kind.WORKER)):
        workers.update(node.queues)
        slots.update(dict.fromkeys(node.queues, node.concurrency))
    found = rows("queue_overview", {"names": names, "served": sorted(workers), "most": queries.COUNTED_JOBS})
    return [QueueOverview(**row, workers=workers[row["name"]], slots=slots[row["name"]]) for row in found]


def change(name: str, wanted: QueueChange, *, by: str, principal: Principal | None = None) -> Queue:
    """Change a queue, which needs not exist yet; jobs that run go on. What is as asked already is not recorded.

    principal: whose queues to keep to; None for an operator. Raises FORBIDDEN, NOT_FOUND (no name of a queue).
    """
    _require(name, principal)
    with transaction.atomic():
        Queue.objects.bulk_create([Queue(name=name)], ignore_conflicts=True)
        queue = Queue.objects.select_for_update().get(pk=name)
        before = {column: getattr(queue, column) for column in wanted.model_fields_set}
        changed = {column: new for column in before if (new := getattr(wanted, column)) != before[column]}
        if changed:
            for column, new in changed.items():
                setattr(queue, column, new)
            queue.updated_at = timezone.now()
            queue.save(update_fields=[*changed, "updated_at"])
            _audit(name, by, {column: [before[column], new] for column, new in changed.items()})
            transaction.on_commit(partial(dispatch.renew_window, name))
    return queue


def note_known() -> None:
    """Make a row for every queue that jobs or workers name, so that a list of rows is a list of queues."""
    known = [overview.name for overview in _overviews(None)]
    Queue.objects.bulk_create([Queue(name=name) for name in known], ignore_conflicts=True)


def by_name() -> dict[str, QueueOverview]:
    """Every queue that anything names."""
    return {found.name: found for found in _overviews(None)}


def _require(name: str, principal: Principal | None) -> None:
    if not QUEUE.fullmatch(name):
        raise Problem(errors.NOT_FOUND, "No such queue: a name has 1 to 80 of a-z 0-9 . _ : -")
    if principal is not None:
        principal.require_queue(name)


def _audit(name: str, by: str, details: dict[str, Any]) -> None:
    audit.record(actor=by, action="queue.updated", object_type="queue", object_id=name, details=details)
