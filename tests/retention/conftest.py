from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Attempt, Job, JobLog, JobType, Status
from jobs.retention import partitions
from jobs.transitions import Claim

DAY = timedelta(days=1)
End = Callable[..., Job]


def sql(statement: str, *params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else None


def midnight(days: float = 0) -> datetime:
    return timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + days * DAY


def named(day: datetime) -> str:
    return f"jobs_joblog_{day:%Y%m%d}"


def drop_all() -> None:
    for partition in partitions.partitions():
        sql(f"DROP TABLE {partition.name}")


def make_partition(days_ago: int) -> str:
    """The partition of a day in the past; its name."""
    day = midnight(-days_ago)
    name = named(day)
    sql(
        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF jobs_joblog"
        f" FOR VALUES FROM ('{day.isoformat()}') TO ('{(day + DAY).isoformat()}')"
    )
    return name


def shift(job: Job, age: timedelta) -> None:
    """Everything of the job happened so much earlier."""
    moved = {name: F(name) - age for name in ("created_at", "updated_at", "started_at", "finished_at")}
    Job.objects.filter(pk=job.pk).update(**moved)
    Attempt.objects.filter(job=job).update(started_at=F("started_at") - age, ended_at=F("ended_at") - age)
    JobLog.objects.filter(job=job).update(ts=F("ts") - age, job_created_at=F("job_created_at") - age)
    job.refresh_from_db()


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """The partitions that a new database has."""
    yield
    if request.node.get_closest_marker("django_db") is None:
        return
    sql("TRUNCATE jobs_job, jobs_joblog CASCADE")
    drop_all()
    partitions.make_ahead()


@pytest.fixture
def ended(claimed: Callable[..., Claim]) -> End:
    """`ended(40)`: a job that was made and has ended 40 days ago, at noon; with its partition, unless told."""

    def make(days_ago: float, status: str = "succeeded", *, partitioned: bool = True, **fields: Any) -> Job:
        if partitioned:
            make_partition(int(days_ago))
        if (type_ := fields.get("type")) and not JobType.objects.filter(pk=type_).exists():
            JobType.objects.create(name=type_, handler="builtin:report.generate")
        held = claimed(**fields)
        match status:
            case Status.SUCCEEDED:
                lifecycle.succeed(held.id, held.fence, result={"days": days_ago})
            case Status.FAILED:
                lifecycle.fail(held.id, held.fence, code="X", message="it failed", retry=False)
            case _:
                lifecycle.cancel(held.id, by="test")
        job = Job.objects.get(pk=held.id)
        shift(job, job.created_at - (midnight(-int(days_ago)) + DAY / 2))
        return job

    return make
