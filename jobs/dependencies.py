"""What a new job's `input.depends_on` comes to, decided while the jobs it names are locked."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access.principals import Principal
from jobs import lifecycle
from jobs.models import TERMINAL, Job, JobDependency, Status


@dataclass(frozen=True)
class Plan:
    """What a new job's `depends_on` comes to: existing jobs, ids that do not exist, and how many are still open."""

    existing: tuple[uuid.UUID, ...] = ()
    missing: tuple[str, ...] = ()
    waiting_on: int = 0
    blocked: bool = False


def named_in(input_: Any) -> list[str]:
    """The distinct ids of `input.depends_on`, in order."""
    if not isinstance(input_, Mapping):
        return []
    return list(dict.fromkeys(name.strip() for name in input_.get("depends_on") or ()))


def lock(names: set[str], principal: Principal | None) -> dict[str, str]:
    """Status by id of the dependencies that exist and the caller may see. Their rows stay locked until the commit, so
    that none can end between being read here and knowing its dependant."""
    ids = [parsed for name in names if (parsed := _uuid(name))]
    if not ids:
        return {}
    found = Job.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")
    states = {
        str(pk): status
        for pk, status, queue in found.values_list("pk", "status", "queue")
        if principal is None or principal.allows_queue(queue)
    }
    open_ids = [pk for pk, status in states.items() if status not in TERMINAL]
    Job.objects.filter(pk__in=open_ids, has_dependants=False).update(has_dependants=True)
    return states


def plan(names: Sequence[str], states: Mapping[str, str]) -> Plan:
    """states: of those that exist, as `lock` gave them."""
    known = {name: str(_uuid(name)) for name in names}
    existing = tuple(uuid.UUID(pk) for pk in known.values() if pk in states)
    missing = tuple(name for name, pk in known.items() if pk not in states)
    ended_badly = [pk for pk in existing if states[str(pk)] in (Status.FAILED, Status.CANCELLED)]
    waiting_on = sum(states[str(pk)] != Status.SUCCEEDED for pk in existing) + len(missing)
    return Plan(existing, missing, waiting_on, blocked=bool(missing or ended_badly))


def link(job: Job, plan: Plan) -> None:
    """Note what the new job waits for; where that can never all succeed, fail it."""
    JobDependency.objects.bulk_create(JobDependency(job=job, depends_on_id=pk) for pk in plan.existing)
    if plan.blocked:
        lifecycle.block(job.id, missing=plan.missing)
        job.refresh_from_db()


def _uuid(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
