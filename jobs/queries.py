"""Named reads: who may see which job, pages of jobs, and what `explain` needs to know about a queue."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import BooleanField, Case, F, Func, IntegerField, Q, QuerySet, TextField, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from jobs import nodes
from jobs.models import Attempt, CallbackDelivery, Job, JobDependency, JobGroup, JobLog, JobType, Node, Status
from jobs.sql import rows
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import JOB_TYPE

if TYPE_CHECKING:
    from access.principals import Principal

SEARCHED_JOBS = 5_000
"""How many jobs one page of a text search looks at."""

SEARCHED_INPUT_BYTES = 16_384
"""Inputs stored in more bytes are not searched: reading them would cost more than the rest of the page."""

COUNTED_JOBS = 10_000
"""Where counting the jobs ahead stops."""


def estimate(rows_: QuerySet[Any]) -> int:
    """About how many rows there are, by the planner's statistics, which cost nothing to ask."""
    (plan,) = json.loads(rows_.order_by().explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])


# One job


def parse_id(text: str) -> uuid.UUID | None:
    """The id in the canonical form the API shows it in, or None for anything else."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def visible_jobs(principal: Principal) -> QuerySet[Job]:
    """The jobs on the queues that `principal` may see."""
    if principal.queue_allowlist is None:
        return Job.objects.all()
    return Job.objects.filter(queue__in=principal.queue_allowlist)


def visible_job(job_id: str, *, principal: Principal) -> Job:
    """The job, by the id of a URL. Raises NOT_FOUND also where the job is on a queue that `principal` may not see."""
    found = parse_id(job_id)
    job = None if found is None else visible_jobs(principal).filter(pk=found).first()
    if job is None:
        raise Problem(errors.NOT_FOUND, "No such job: check the id, and that the key may see the job's queue.")
    return job


def log_tail(job: Job, *, tail: int) -> list[JobLog]:
    """The newest `tail` log lines, oldest first. Served by the primary key of one partition."""
    return list(JobLog.of(job).order_by("-id")[:tail])[::-1]


def attempts_of(job: Job) -> list[Attempt]:
    """Every attempt, the first one first."""
    return list(Attempt.objects.filter(job=job).order_by("number"))


def callbacks_of(job: Job) -> list[CallbackDelivery]:
    """The job's callback deliveries, one for each end it came to, newest first."""
    return list(CallbackDelivery.objects.filter(job=job).order_by("-id"))


def visible_callback(delivery_id: int, *, principal: Principal) -> CallbackDelivery:
    """The delivery. Raises NOT_FOUND also where its job is on a queue that `principal` may not see."""
    deliveries = CallbackDelivery.objects.filter(pk=delivery_id)
    if principal.queue_allowlist is not None:
        deliveries = deliveries.filter(job__queue__in=principal.queue_allowlist)
    if (delivery := deliveries.first()) is None:
        raise Problem(errors.NOT_FOUND, "No such callback delivery: GET /v1/jobs/{id}/callbacks lists a job's.")
    return delivery


# Pages of jobs


@dataclass(frozen=True)
class Position:
    """A place in the list, newest first: just after the job that was created at this moment and has this id."""

    created_at: datetime
    id: uuid.UUID

    @classmethod
    def of(cls, job: Job) -> Position:
        """The place just after `job`."""
        return cls(job.created_at, job.id)


@dataclass(frozen=True)
class JobFilter:
    """What a list of jobs is narrowed to. None: not narrowed. `until` is exclusive, `since` and `ended_by` are not."""

    status: str | None = None
    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    error_code: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_by: datetime | None = None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first, and where the next page begins; None after the last one."""

    jobs: Sequence[Job]
    next: Position | None


def job_page(
    wanted: JobFilter,
    *,
    principal: Principal,
    limit: int,
    after: Position | None = None,
    only: Sequence[str] | None = None,
) -> JobPage:
    """One page of the jobs that `principal` may see, in one SQL statement (two for a text search).

    The place is a key, not an offset: a page neither repeats nor skips a job because others arrive meanwhile.
    Served by job_newest, job_by_status, job_by_queue, job_by_type, job_by_tag or job_by_error_code. A text search has
    no index: it looks at the next SEARCHED_JOBS jobs only, so a page may be short, even empty, and still have a `next`.
    A whole id is looked up, however old the job is. only: the columns to read; None: all.

    Raises FORBIDDEN when `wanted.queue` is named and not one of the principal's.
    """
    jobs = listed(wanted, principal, after)
    if only is not None:
        jobs = jobs.only(*only)
    if wanted.text and (whole_id := parse_id(wanted.text)):
        return JobPage(list(jobs.filter(pk=whole_id)), None)
    if wanted.text:
        return _search(jobs, wanted.text, limit)
    rows = list(jobs[: limit + 1])
    return JobPage(rows[:limit], Position.of(rows[limit - 1]) if len(rows) > limit else None)


def count_jobs(wanted: JobFilter, *, principal: Principal, after: Position | None = None, most: int) -> int:
    """How many jobs the pages of a list hold; counting stops at `most`. A text is left out of account."""
    return listed(wanted, principal, after).order_by()[:most].count()


@dataclass(frozen=True)
class FailureGroup:
    """Jobs of one type that have failed for good in one way. error_code: None where the handler gave none."""

    type: str
    error_code: str | None
    count: int
    last_failed_at: datetime


def failure_groups(wanted: JobFilter, *, principal: Principal) -> list[FailureGroup]:
    """The newest COUNTED_JOBS failed jobs that `wanted` finds, grouped by type and error code, most frequent first.

    Served as the list is; what is looked at is bounded, however many have failed.
    """
    failed = listed(replace(wanted, status=Status.FAILED), principal)
    newest = failed.annotate(code=KeyTextTransform("code", "error")).values("type", "code", "finished_at")
    inner, params = newest[:COUNTED_JOBS].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT type, code, count(*), max(finished_at) FROM ({inner}) AS newest"  # noqa: S608 - Django's own SQL
            " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
            params,
        )
        return [FailureGroup(*row) for row in cursor.fetchall()]


def listed(wanted: JobFilter, principal: Principal, after: Position | None = None) -> QuerySet[Job]:
    """The jobs of a list from a place on, newest first, but for its text."""
    if wanted.queue is not None:
        principal.require_queue(wanted.queue)
    jobs = _narrowed(visible_jobs(principal), wanted).order_by("-created_at", "-id")
    if after is None:
        return jobs
    # The first condition is what the index can start from.
    return jobs.filter(created_at__lte=after.created_at).filter(Q(created_at__lt=after.created_at) | Q(id__lt=after.id))


def _narrowed(jobs: QuerySet[Job], wanted: JobFilter) -> QuerySet[Job]:
    exact = {"status": wanted.status, "type": wanted.type, "queue": wanted.queue}
    jobs = jobs.filter(**{column: value for column, value in exact.items() if value is not None})
    if wanted.tag is not None:
        jobs = jobs.filter(tags__contains=[wanted.tag])
    if wanted.error_code is not None:
        jobs = jobs.alias(error_code=KeyTextTransform("code", "error"))
        jobs = jobs.filter(error__isnull=False, error_code=wanted.error_code)
    if wanted.since is not None:
        jobs = jobs.filter(created_at__gte=wanted.since)
    if wanted.until is not None:
        jobs = jobs.filter(created_at__lt=wanted.until)
    if wanted.ended_by is not None:
        jobs = jobs.filter(finished_at__lte=wanted.ended_by)
    return jobs


def _search(jobs: QuerySet[Job], text: str, limit: int) -> JobPage:
    """The next jobs whose type, tags or input contain `text`, or whose id begins with it; case does not matter."""
    fits = (
        Q(type__icontains=text)
        | Q(searched_id__startswith=text.lower())
        | Q(searched_tags__icontains=text)
        | Q(searched_input__icontains=text)
    )
    # Where the search ends is asked for first: with a value to start from, the search is one range of an index at any
    # size of the table, where a join with the newest ids was a scan of all of it.
    edges = list(jobs.values_list("created_at", "id")[SEARCHED_JOBS - 1 : SEARCHED_JOBS])
    for created_at, edge_id in edges:
        jobs = jobs.filter(created_at__gte=created_at).filter(Q(created_at__gt=created_at) | Q(id__gte=edge_id))
    found = (
        jobs.alias(
            input_bytes=Func(F("input"), function="pg_column_size", output_field=IntegerField()),
            searched_id=Cast("id", TextField()),
            searched_tags=Func(F("tags"), Value("\n"), function="array_to_string", output_field=TextField()),
            searched_input=Case(
                When(input_bytes__lte=SEARCHED_INPUT_BYTES, then=Cast("input", TextField())),
                default=Value(""),
                output_field=TextField(),
            ),
        )
        .annotate(fits=_flag(fits), is_edge=_flag(Q(id__in=[edge_id for _, edge_id in edges])))
        # The last job looked at comes along, fitting or not: it is where the next page goes on.
        .filter(Q(fits=True) | Q(is_edge=True))
        .order_by("-created_at", "-id")
    )
    rows = list(found[: limit + 1])
    hits = [job for job in rows[:limit] if job.fits]
    if len(rows) > limit:
        return JobPage(hits, Position.of(rows[limit - 1]))
    return JobPage(hits, Position.of(rows[-1]) if rows and rows[-1].is_edge else None)


def _flag(condition: Q) -> Case:
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


# Job types


def job_types() -> list[JobType]:
    """Every job type, by name."""
    return list(JobType.objects.order_by("name"))


def job_type(name: str, *, lock: bool = False) -> JobType:
    """The job type; lock: its row, until the transaction ends. Raises NOT_FOUND."""
    types = JobType.objects.select_for_update() if lock else JobType.objects.all()
    found = types.filter(name=name).first() if JOB_TYPE.fullmatch(name) else None
    if found is None:
        raise Problem(errors.NOT_FOUND, "No such job type: GET /v1/job-types lists them.")
    return found


# What explain needs to know


@dataclass(frozen=True)
class Dependency:
    """A job that another one waits for."""

    id: uuid.UUID
    type: str
    status: str


def open_dependencies(job: Job) -> list[Dependency]:
    """The dependencies that have not succeeded, oldest first."""
    rows = JobDependency.objects.filter(job=job).exclude(depends_on__status=Status.SUCCEEDED)
    found = rows.order_by("depends_on__created_at").values_list(
        "depends_on_id", "depends_on__type", "depends_on__status"
    )
    return [Dependency(*row) for row in found]


def open_children(job: Job) -> list[Dependency]:
    """The children that a suspended job waits for, oldest first. Served by job_by_group."""
    group = JobGroup.objects.filter(parent=job, series=job.series, phase=job.phase)
    children = Job.objects.filter(group__in=group, status__in=Status.open()).order_by("created_at", "id")
    return [Dependency(*row) for row in children.values_list("id", "type", "status")]


def tree_of(job: Job, *, principal: Principal, most: int) -> list[dict[str, Any]]:
    """The job and all that it, and they, made, level by level: at most `most` rows of tree.sql."""
    queues = None if principal.queue_allowlist is None else list(principal.queue_allowlist)
    return rows("tree", {"id": job.id, "queues": queues, "most": most})


def live_workers(queue: str, pool: str) -> list[Node]:
    """The workers of `pool` that consume `queue` and are alive."""
    return nodes.alive(Node.objects.filter(kind=Node.Kind.WORKER, pool=pool, queues__contains=[queue]))


@dataclass(frozen=True)
class QueueState:
    """How busy a queue is, seen from one of its jobs, and what its limits have left. Counting stops at COUNTED_JOBS."""

    ahead: int
    """Jobs not yet published that are to be published before this one: by priority and age."""
    turn: int
    """The how many'th of its key the job is: keys take turns. What runs or is published of the key counts."""
    in_window: int
    """Jobs published to the workers and not yet claimed; this one is not counted."""
    running: int
    of_queue: int
    """Those of both pools that run or are published: what the queue's limit counts. The others here are of one pool."""
    queue_paused: bool
    queue_max_running: int | None
    of_type: int
    """Jobs of the type that run or are published, on all queues."""
    of_key: int
    """Those of them with the job's concurrency key."""
    key_holders: list[str]
    """Ids of at most 5 of those, the first to begin first."""
    rate_begun: int
    """Attempts that began within the period of the rate limit; with rate_published, what it counts."""
    rate_published: int
    rate_free_at: datetime | None
    """When the rate limit lets the next attempt begin; None while that depends on published jobs."""


def queue_state(job: Job) -> tuple[QueueState, JobType | None]:
    """Where `job` stands in its queue, and its type: one statement, whose cost COUNTED_JOBS bounds."""
    facts = {
        "id": job.id, "queue": job.queue, "pool": job.pool, "type": job.type, "key": job.concurrency_key,
        "turn_at": job.turn_at,
    }  # fmt: skip
    row = rows("queue_state", facts | {"most": COUNTED_JOBS})[0]
    of_type = {field.attname: row.pop(field.attname) for field in JobType._meta.concrete_fields}
    return QueueState(**row), JobType(**of_type) if of_type["name"] else None
