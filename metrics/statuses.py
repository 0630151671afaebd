"""How many jobs there are and were, by status, without reading all of a large table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.models import Job, Status
from jobs.queries import estimate
from metrics.sql import rows

COUNTED_MOST, COUNTED_MOST_OF_QUEUES = 100_000, 20_000
"""So many jobs that ended alike, or so many of the queues, are counted one by one: 10 ms of an index, or 0.1 s of rows.
Where there are more, Postgres' statistics say about how many."""


@dataclass(frozen=True)
class Statuses:
    """The number of each status; those of `estimated` are about right, to a few percent after the last ANALYZE."""

    counts: dict[str, int]
    estimated: list[str]


def job_status(queues: Sequence[str] | None) -> Statuses:
    """Of `queues`, or of all. Jobs that retention has deleted count as they ended."""
    names = None if queues is None else sorted(set(queues))
    counts, estimated = dict.fromkeys(Status.values, 0), []
    if names is None:
        found = rows("job_status", {"most": COUNTED_MOST})
    else:
        found = rows("job_status_of", {"most": COUNTED_MOST_OF_QUEUES, "queues": names})
    for row in found:
        there = row["seen"]
        if not row["is_whole"]:
            like_it = Job.objects.filter(status=row["status"])
            there = max(there, estimate(like_it if names is None else like_it.filter(queue__in=names)))
            estimated.append(row["status"])
        counts[row["status"]] = there + row["pruned"]
    return Statuses(counts, sorted(estimated, key=Status.values.index))
