"""A jobs' table large enough that a plan without an index would scan it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

FINISHED = 20_000


@contextmanager
def large_table() -> Iterator[CursorWrapper]:
    """20,000 finished jobs, analysed, and a planner that may scan them: in our connections it may not (settings), and
    would rather read the whole of an index, which no test of `Seq Scan` sees."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_job"
            " (id, type, queue, status, priority, timeout_sec, attempts, max_attempts, tags, finished_at)"
            " SELECT gen_random_uuid(), 'report.generate', 'default', 'succeeded', 5, 60, 1, 1, '{}', now()"
            " FROM generate_series(1, %s)",
            [FINISHED],
        )
        cursor.execute("ANALYZE jobs_job")
        cursor.execute("SET LOCAL enable_seqscan = on")
        yield cursor
