"""What is new in the rows: one statement for any number of jobs, on an asynchronous connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from django.db import connections

from jobs.models import Job, JobLog

LINES_MOST = 200
"""Log lines of one job that one reading returns (contract section 3: at most 200 a tick)."""
STATEMENT_SEC = 15.0
UNAVAILABLE = (psycopg.Error, OSError, TimeoutError)
"""What a reading raises when Postgres is away."""

# In the order of the model, as Model.from_db takes them.
JOB_FIELDS = (
    "id", "type", "queue", "status", "priority", "timeout_sec", "attempts", "max_attempts", "callback_url", "tags",
    "input", "result", "error", "created_at", "updated_at", "fence", "progress", "result_size_bytes",
)  # fmt: skip

# `version` is the row version's xmin: any committed UPDATE changes it, so an unchanged job costs neither its columns
# nor the toasted input and result in them. Positions with nothing new return no row. One statement is one snapshot:
# a status and the lines beside it were true at the same moment. Indexes: the primary keys; of the log, only the
# partition of the job's day is looked at.
NEWS = f"""
SELECT want.ordinal, job.xmin::text, job.status, lines.*, {", ".join(f"changed.{name}" for name in JOB_FIELDS)}
FROM unnest(%s::uuid[], %s::bigint[], %s::text[]) WITH ORDINALITY AS want(job_id, after, version, ordinal)
LEFT JOIN jobs_job AS job ON job.id = want.job_id
LEFT JOIN jobs_job AS changed ON changed.id = job.id AND changed.xmin::text <> want.version
CROSS JOIN LATERAL (
    SELECT array_agg(id), array_agg(ts), array_agg(level), array_agg(message), array_agg(meta)
    FROM (
        SELECT id, ts, level, message, meta FROM jobs_joblog
        WHERE job_id = job.id AND job_created_at = job.created_at AND id > want.after
        ORDER BY id LIMIT {LINES_MOST + 1}
    ) AS line
) AS lines(ids, ts, levels, messages, metas)
WHERE job.xmin::text IS DISTINCT FROM want.version OR lines.ids IS NOT NULL
"""  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has read: lines up to the id `after`, the job's row in `version` ("": never)."""

    job_id: UUID
    after: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is new at a position.

    status: None if the row is gone. job: None if it is unchanged since the position's version.
    more: whether further lines follow these.
    """

    position: Position
    version: str
    status: str | None
    job: Job | None
    lines: list[JobLog]
    more: bool


class Rows:
    """Reads news. One reading at a time, so later snapshots never overtake earlier ones.

    The connection opens with the first reading, is dropped on any error, and belongs to the running loop.
    """

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def news(self, positions: Collection[Position]) -> list[Snapshot]:
        """What is new at each of `positions`; those with nothing new are left out. Raises UNAVAILABLE."""
        asked = list(positions)
        columns = [[p.job_id for p in asked], [p.after for p in asked], [p.version for p in asked]]
        return [_snapshot(asked[ordinal - 1], row) for ordinal, *row in await self._fetch(columns)]

    async def _fetch(self, columns: Sequence[Any]) -> list[tuple[Any, ...]]:
        async with self._one_at_a_time, asyncio.timeout(STATEMENT_SEC):
            try:
                if self._connection is None:
                    self._connection = await psycopg.AsyncConnection.connect(
                        **_connection_parameters(), autocommit=True
                    )
                # Prepared: planning it, with all partitions of the log, would take longer than running it.
                cursor = await self._connection.execute(NEWS.encode(), columns, prepare=True)
                return await cursor.fetchall()
            except BaseException:
                self.drop_connection()
                raise

    def drop_connection(self) -> None:
        """Give the connection up; the next reading opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


def _connection_parameters() -> dict[str, Any]:
    """Django's own, without its cursor and type adapters, which read JSON as text."""
    ours = {"cursor_factory", "context", "autocommit"}
    parameters = connections["default"].get_connection_params()
    return {name: value for name, value in parameters.items() if name not in ours}


def _snapshot(position: Position, row: Sequence[Any]) -> Snapshot:
    version, status, ids, ts, levels, messages, metas, *job = row
    lines = [
        JobLog.from_db(None, ("id", "job_id", "ts", "level", "message", "meta"), (line[0], position.job_id, *line[1:]))
        for line in zip(ids or (), ts or (), levels or (), messages or (), metas or (), strict=True)
    ]
    changed = Job.from_db(None, JOB_FIELDS, job) if job[0] is not None else None
    return Snapshot(position, version or "", status, changed, lines[:LINES_MOST], len(lines) > LINES_MOST)
