"""Everything the checker judges: what clients saw, what Postgres holds, what handlers noted outside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from tests.chaos.history import Event
from tests.chaos.kinds import WORK


class JobRow(NamedTuple):
    """A job as Postgres holds it. Times in Unix seconds. plan: None for a child, which no client submitted."""

    id: str
    plan: int | None
    status: str
    attempts: int
    max_attempts: int
    fence: int
    calls_back: bool
    result_attempt: int | None
    error_code: str | None
    finished_at: float | None
    type: str = WORK
    queue: str = "default"
    key: str = ""
    """Its concurrency key."""
    unique_key: str = ""
    created_at: float = 0.0
    """When the transaction that made it began."""
    expires_at: float | None = None
    group: str | None = None
    """Whose child it is."""
    child_name: str = ""
    phases: int | None = None
    """How often a parent is to make children."""
    came: list[list[list[Any]]] | None = None
    """What a parent says its children came to: of each phase, of each child, `[name, job, status, attempt]`."""


class GroupRow(NamedTuple):
    """The children that a parent made at once. phase: 1 for its first."""

    id: str
    parent: str
    phase: int
    on_failure: str
    size: int


class Pause(NamedTuple):
    """A pause as its client knew it: asked for, answered with 200, and when the resume was first asked for."""

    what: str
    """`queues` or `job-types`."""
    name: str
    asked_at: float
    paused_at: float
    resumed_at: float


class AttemptRow(NamedTuple):
    """An attempt. Times in Unix seconds."""

    job: str
    number: int
    outcome: str
    started_at: float
    ended_at: float | None


class LogRow(NamedTuple):
    """A log line and the transaction that wrote it."""

    job: str
    id: int
    message: str
    xid: int


class Transition(NamedTuple):
    """A change of a status, noted by a trigger. old: None at creation.

    xid: the (sub)transaction that wrote the row; top: the transaction. at: Unix seconds, before the commit.
    """

    job: str
    old: str | None
    new: str
    fence: int
    xid: int
    top: int = 0
    at: float = 0.0
    committed_at: float | None = None
    """Of a creation: when nobody else had seen the job yet."""


class DeliveryRow(NamedTuple):
    """A callback in the outbox."""

    job: str
    state: str


class Step(NamedTuple):
    """A line of the ledger, which handlers write."""

    job: str
    attempt: int
    step: str


class Dependency(NamedTuple):
    """`job` waits for `on`."""

    job: str
    on: str


@dataclass
class Evidence:
    """One run. Lists are in the order in which things happened."""

    history: list[Event]
    jobs: list[JobRow]
    attempts: list[AttemptRow]
    logs: list[LogRow]
    transitions: list[Transition]
    deliveries: list[DeliveryRow]
    dependencies: list[Dependency]
    ledger: list[Step]
    groups: list[GroupRow] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    """Processes of jobs that live on although every job has ended."""
    last_fault_at: float = 0.0
    bound_sec: float = 0.0
    """All jobs must have ended so long after the last fault."""

    @cached_property
    def job(self) -> dict[str, JobRow]:
        """By id."""
        return {job.id: job for job in self.jobs}

    @cached_property
    def accepted(self) -> set[str]:
        """Ids that a client was given."""
        return {event["job"] for event in self.history if event["what"] == "submit" and event["job"]}

    def save(self, folder: Path) -> None:
        """Write the rows as JSON lines, a file each, for whoever looks into a finding."""
        for name in (*_QUERIES, "pauses"):
            lines = (json.dumps(row._asdict()) for row in getattr(self, name))
            (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")

    def events(self, what: str) -> list[Event]:
        """The history's events of one kind."""
        return [event for event in self.history if event["what"] == what]


def by_job(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Rows of any kind by their job, in order."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.job].append(row)
    return found


def read_rows(database: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """What Postgres holds, as keyword arguments of Evidence."""
    return {
        name: [row_type(*row) for row in database.execute(query).fetchall()]
        for name, (row_type, query) in _QUERIES.items()
    }


def read_ledger(text: str) -> list[Step]:
    """The ledger's lines."""
    return [Step(job, int(attempt), step) for job, attempt, step in map(str.split, text.splitlines())]


_QUERIES: dict[str, tuple[Any, str]] = {
    "jobs": (
        JobRow,
        """
        SELECT id::text, CASE WHEN group_id IS NULL THEN substr(tags[1], 2)::int END, status, attempts, max_attempts,
               fence, callback_url IS NOT NULL, (result ->> 'attempt')::int, error ->> 'code',
               EXTRACT(EPOCH FROM finished_at)::float8, type, queue, concurrency_key, unique_key,
               EXTRACT(EPOCH FROM created_at)::float8, EXTRACT(EPOCH FROM expires_at)::float8, group_id::text,
               child_name, jsonb_array_length(input -> 'phases'), result -> 'came'
        FROM jobs_job ORDER BY created_at
        """,
    ),
    "attempts": (
        AttemptRow,
        """
        SELECT job_id::text, number, outcome, EXTRACT(EPOCH FROM started_at)::float8,
               EXTRACT(EPOCH FROM ended_at)::float8
        FROM jobs_attempt ORDER BY job_id, number
        """,
    ),
    "logs": (LogRow, "SELECT job_id::text, id, message, xmin::text::bigint FROM jobs_joblog ORDER BY id"),
    "transitions": (
        Transition,
        """
        SELECT t.job_id::text, old, new, fence, xid, top, EXTRACT(EPOCH FROM t.at)::float8,
               CASE WHEN old IS NULL THEN EXTRACT(EPOCH FROM c.at)::float8 END
        FROM chaos_transition AS t LEFT JOIN chaos_commit AS c USING (job_id) ORDER BY id
        """,
    ),
    "deliveries": (DeliveryRow, "SELECT job_id::text, state FROM jobs_callbackdelivery ORDER BY id"),
    "dependencies": (Dependency, "SELECT job_id::text, depends_on_id::text FROM jobs_jobdependency ORDER BY id"),
    "groups": (
        GroupRow,
        "SELECT id::text, parent_id::text, phase, on_failure, size FROM jobs_jobgroup ORDER BY parent_id, phase",
    ),
}
