"""A table full of finished jobs, as years of use leave it: made outside the database and loaded with COPY."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

QUEUES = ("default", "reports", "mail", "models")
TYPES = ("report.generate", "data.fetch", "tool.exec", "bench.mark")
STATUSES = ("succeeded",) * 95 + ("failed",) * 4 + ("cancelled",)
TAGS = ("nightly", "ci", "customer-{}", "batch-{}")
SPACING_SEC = 0.5
"""From one job's creation to the next one's."""
LINES = (("info", "Job created"), ("info", "Job claimed"), ("info", "Job succeeded"))
SLICE = 5_000

JOB = (
    "id", "type", "queue", "status", "priority", "timeout_sec", "attempts", "max_attempts", "tags", "input", "result",
    "error", "created_at", "updated_at", "available_at", "started_at", "finished_at", "fence",
)  # fmt: skip
LOG = ("job_id", "job_created_at", "ts", "level", "message")
ATTEMPT = (
    "job_id",
    "number",
    "series",
    "ordinal",
    "worker",
    "outcome",
    "waited_ms",
    "started_at",
    "ended_at",
    "ran_ms",
)


def load(
    database_url: str, count: int, *, seed: int = 1, before: datetime | None = None, partitioned: bool = False
) -> None:
    """Add `count` finished jobs with three log lines and an attempt each, older than all there are; then ANALYZE.

    The layout is the real one: its indexes, constraints and triggers are all there. before: all of them were made
    before that. partitioned: make the partitions of the log for their days, which elsewhere time has made.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT min(created_at) FROM jobs_job").fetchone()
        before = before or (row[0] if row else None) or datetime.now(UTC)
        if partitioned:
            _make_partitions(connection, before - timedelta(seconds=SPACING_SEC * (count + 1)), before)
        luck = random.Random(f"{seed} {count} {before.timestamp() // 86400}")
        for start in range(0, count, SLICE):
            jobs = [
                _Job(luck, before - timedelta(seconds=SPACING_SEC * (start + n + 1)))
                for n in range(min(SLICE, count - start))
            ]
            _copy(connection, "jobs_job", JOB, (job.row() for job in jobs))
            _copy(connection, "jobs_joblog", LOG, (line for job in jobs for line in job.lines()))
            _copy(connection, "jobs_attempt", ATTEMPT, (job.attempt() for job in jobs))
        for table in ("jobs_job", "jobs_joblog", "jobs_attempt"):
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())


def _make_partitions(connection: psycopg.Connection, oldest: datetime, newest: datetime) -> None:
    day = oldest.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= newest:
        name = f"jobs_joblog_{day:%Y%m%d}"
        bounds = f"FROM ('{day.isoformat()}') TO ('{(day + timedelta(days=1)).isoformat()}')"
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF jobs_joblog FOR VALUES {bounds}".encode())
        day += timedelta(days=1)


class _Job:
    def __init__(self, luck: random.Random, created_at: datetime) -> None:
        self.id = str(uuid.UUID(int=luck.getrandbits(128), version=4))
        self.status = luck.choice(STATUSES)
        self.type, self.queue = luck.choice(TYPES), luck.choice(QUEUES)
        self.created_at = created_at.isoformat()
        self.ended_at = (created_at + timedelta(seconds=luck.uniform(0.01, 20))).isoformat()
        tags = [tag.format(luck.randrange(1000)) for tag in luck.sample(TAGS, luck.randrange(3))]
        self.tags = "{" + ",".join(tags) + "}"
        self.input = f'{{"title": "Report {luck.randrange(10**6)}", "metrics": {{"visits": {luck.randrange(1000)}}}}}'

    def row(self) -> str:
        result, error = (
            ("{}", r"\N") if self.status == "succeeded" else (r"\N", '{"message": "it failed", "code": "X"}')
        )
        return "\t".join(
            (self.id, self.type, self.queue, self.status, "5", "120", "1", "1", self.tags, self.input, result, error,
             self.created_at, self.ended_at, self.created_at, self.created_at, self.ended_at, "1")
        )  # fmt: skip

    def lines(self) -> Iterator[str]:
        for level, message in LINES:
            yield "\t".join((self.id, self.created_at, self.ended_at, level, message))

    def attempt(self) -> str:
        return "\t".join(
            (self.id, "1", "1", "1", "bench", self.status, "3", self.created_at, self.ended_at, "12")
        )  # fmt: skip


def _copy(connection: psycopg.Connection, table: str, columns: tuple[str, ...], rows: Iterator[str]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
        copy.write("".join(f"{row}\n" for row in rows))
