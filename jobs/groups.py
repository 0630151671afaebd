"""Jobs that make jobs and wait for them: checking and making the children, and handing back what they came to.

What lets the parent go on is `lifecycle.settle_groups`. docs/adr/0013-job-groups.md says why it is as it is.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from jobs import flow, lifecycle, submission
from jobs.approvals import decisions
from jobs.handlers.base import AttemptFailed, Child, ChildResult, Spawn
from jobs.models import Job, JobType, OnFailure, Status
from jobs.requests import NewJob, parse_new_job
from jobs.sql import rows
from jobs.storable import NotStorable, dumps, text
from jobs.transitions import Claim, Group
from rauskuclaw import errors
from rauskuclaw.errors import Problem

MAX_CHILDREN = 1000
MAX_DEPTH = 10
MAX_PHASES = 100
MAX_SPAWN_BYTES = 8 * 1024 * 1024
"""Of one spawn's inputs and state together, as JSON."""
MAX_RESULTS_BYTES = 64 * 1024 * 1024
"""Of one group's results together, as JSON; their parent's handler holds them all in memory."""
NAMED_FAULTS = 20


def spawn(claim: Claim, wanted: Spawn, lines: Sequence[dict[str, Any]]) -> bool:
    """Make the children and suspend the job: both or neither. False for a stale attempt.

    Raises AttemptFailed CHILD_INVALID or GROUP_LIMIT.
    """
    parent = Job.objects.select_related("group").get(pk=claim.id)
    depth = 1 + (parent.group.depth if parent.group else 0)
    _check_limits(claim, wanted, depth)
    types = submission.types_of({child.type for child in wanted.children})
    news = _checked(parent, wanted.children, types)
    _check_size(news, wanted.state)
    group = Group(uuid.uuid4(), len(news), depth, OnFailure(wanted.on_failure), wanted.state)
    names = [text(child.name) for child in wanted.children]
    lookers = [n for n, new in enumerate(news) if submission.looks_at_others(new, types)]
    with flow.alone((news[n].type, news[n].flow.concurrency_key) for n in lookers):
        if not lifecycle.suspend(claim.id, claim.fence, group=group, lines=lines):
            return False
        held = {n: child.approval for n, child in enumerate(wanted.children) if child.approval}
        siblings = submission.Siblings(group.id, names, frozenset(held))
        made = submission.create(news, types, created_by=f"job {claim.id}", siblings=siblings)
        # The last first: all of them exist already, and those that must yield to it are then out of the way.
        for n in reversed(lookers):
            if Job.objects.filter(pk=made[n].pk, status=Status.QUEUED).exists():
                flow.settle(made[n], news[n].flow, types[news[n].type])
        if held:
            decisions.ask(parent, {made[n].pk: reason for n, reason in held.items()})
    return True


def _check_limits(claim: Claim, wanted: Spawn, depth: int) -> None:
    if not wanted.children:
        raise AttemptFailed(errors.CHILD_INVALID, "ctx.spawn needs at least one child")
    if len(wanted.children) > MAX_CHILDREN:
        raise _over_limit(f"{len(wanted.children)} children at once; at most {MAX_CHILDREN} are allowed")
    if depth > MAX_DEPTH:
        raise _over_limit(f"children of children, {depth} deep; at most {MAX_DEPTH} are allowed")
    if claim.phase >= MAX_PHASES:
        raise _over_limit(f"the job has made children {claim.phase} times, and may no more")


def _check_size(news: Sequence[NewJob], state: Any) -> None:
    try:
        size = len(dumps(state)) + sum(len(dumps(new.input)) for new in news)
    except NotStorable as error:
        raise AttemptFailed(errors.CHILD_INVALID, f"an input or the state cannot be stored as JSON: {error}") from None
    if size > MAX_SPAWN_BYTES:
        raise _over_limit(f"{size} bytes of inputs and state; at most {MAX_SPAWN_BYTES} are allowed")


def _over_limit(message: str) -> AttemptFailed:
    return AttemptFailed(errors.GROUP_LIMIT, message)


def _checked(parent: Job, children: Sequence[Child], types: Mapping[str, JobType]) -> list[NewJob]:
    """The children as `POST /v1/jobs` would take them. Raises AttemptFailed CHILD_INVALID that names the faults."""
    news: list[NewJob] = []
    faults: list[dict[str, Any]] = []
    for index, child in enumerate(children):
        try:
            new = submission.checked(parse_new_job(_body(parent, child)), types, None)
        except Problem as problem:
            faults.append({"index": index, "name": child.name, "message": str(problem)})
        else:
            key = new.flow.concurrency_key or parent.concurrency_key
            news.append(replace(new, flow=replace(new.flow, concurrency_key=key)))
    if faults:
        first = faults[0]
        message = f"{len(faults)} of {len(children)} children are refused, first {first['index']}: {first['message']}"
        raise AttemptFailed(errors.CHILD_INVALID, message, {"errors": faults[:NAMED_FAULTS]})
    return news


def _body(parent: Job, child: Child) -> dict[str, Any]:
    given = child.input.model_dump(mode="json") if isinstance(child.input, BaseModel) else child.input
    return {
        "type": child.type,
        "input": given,
        "queue": parent.queue if child.queue is None else child.queue,
        "priority": parent.priority if child.priority is None else child.priority,
        "timeout_sec": child.timeout_sec,
        "max_attempts": child.max_attempts,
        "concurrency_key": child.concurrency_key,
        "tags": list(child.tags),
    }


def with_children(claim: Claim) -> Claim:
    """The claim of a job that goes on, with what its children came to. Raises AttemptFailed GROUP_LIMIT."""
    found = _with_results("children", claim.id)
    children = tuple(
        ChildResult(row["name"], row["id"], row["type"], row["status"], _json(row["result"]), _json(row["error"]))
        for row in found
    )
    return replace(claim, children=children, state=_json(found[0]["state"]) if found else None)


@dataclass(frozen=True)
class Succeeded:
    """A child that has succeeded, of any series of its parent."""

    job_id: uuid.UUID
    name: str
    type: str
    input: Any
    result: Any
    is_of_this_series: bool
    """Whether its parent made it since it was last retried."""


def succeeded_children(job_id: uuid.UUID) -> list[Succeeded]:
    """Every child of a job that has succeeded, in the order they were made: a retried parent may build on the old ones.

    Raises AttemptFailed GROUP_LIMIT.
    """
    found = _with_results("succeeded_children", job_id)
    return [
        Succeeded(
            row["id"], row["name"], row["type"], _json(row["input"]), _json(row["result"]), row["is_of_this_series"]
        )
        for row in found
    ]


def _with_results(statement: str, job_id: uuid.UUID) -> list[dict[str, Any]]:
    """The rows of a statement about a job's children. Raises AttemptFailed GROUP_LIMIT where they hold too much."""
    found = rows(statement, {"id": job_id, "max_bytes": MAX_RESULTS_BYTES})
    if found and found[0]["total_bytes"] > MAX_RESULTS_BYTES:
        raise _over_limit(
            f"the children's results are {found[0]['total_bytes']} bytes; at most {MAX_RESULTS_BYTES} are handed over"
        )
    return found


def _json(column: str | None) -> Any:
    return None if column is None else json.loads(column)
