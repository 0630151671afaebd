"""Making jobs: checks against what is there, idempotency, and one statement that writes all of it or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Value
from django.db.models.functions import Now

from access.principals import Principal
from jobs import bodies, dependencies, dispatch, flow, live, sql
from jobs.flow import NO_FLOW
from jobs.handlers import registry
from jobs.models import IdempotencyKey, Job, JobType
from jobs.requests import NewJob, check_input
from jobs.signals import happened
from jobs.storable import dumps
from rauskuclaw import errors, tracing
from rauskuclaw.config import load
from rauskuclaw.errors import Problem


@dataclass(frozen=True)
class Submitted:
    """The job, and whether it already existed: its Idempotency-Key or its unique key had been used."""

    job: Job
    idempotent: bool


def submit(
    new: NewJob, *, created_by: str, idempotency_key: str | None = None, principal: Principal | None = None
) -> Submitted:
    """Create one job, or find the one its Idempotency-Key made before.

    Raises Problem VALIDATION_ERROR (unknown or disabled type, bad input), FORBIDDEN (queue), IDEMPOTENCY_CONFLICT.
    """
    key = (idempotency_key or "").strip()
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest() if key else None
    if remembered := _remembered.get(new.type):
        job_type, version = remembered
        with contextlib.suppress(Problem):
            ready = checked(new, {new.type: job_type}, principal)
            if not looks_at_others(ready, {new.type: job_type}):
                created = create(
                    [ready], {new.type: job_type},
                    created_by=created_by, principal=principal, digest=digest, type_version=version,
                )  # fmt: skip
                if created:
                    return Submitted(created[0], idempotent=False)
    # Not known yet, changed since, or to be refused: only what the row says now decides that.
    types = types_of([new.type])
    new = checked(new, types, principal)
    made = _make(new, types, created_by=created_by, principal=principal, digest=digest)
    if made is not None:
        return made
    known = IdempotencyKey.objects.select_related("job").get(digest=digest)
    if known.fingerprint != fingerprint(new):
        raise Problem(
            errors.IDEMPOTENCY_CONFLICT,
            "this Idempotency-Key was used for another request; use a new key for a new job",
        )
    happened.send(sender=None, name="job.idempotency_hit", labels={"type": known.job.type}, count=1)
    return Submitted(known.job, idempotent=True)


def _make(
    new: NewJob,
    types: Mapping[str, JobType],
    *,
    created_by: str,
    principal: Principal | None,
    digest: str | None = None,
    origin: Origin | None = None,
) -> Submitted | None:
    """One checked job, alone with others of its keys where it looks at them. None when `digest` is taken."""
    create_it = partial(
        create, [new], types,
        created_by=created_by, principal=principal, digest=digest, origins=None if origin is None else [origin],
    )  # fmt: skip
    if not looks_at_others(new, types):
        created = create_it()
        return Submitted(created[0], idempotent=False) if created else None
    unique = new.flow.unique
    with flow.alone(_keys(new)):
        if digest is not None and IdempotencyKey.objects.filter(digest=digest, expires_at__gt=Now()).exists():
            return None
        if unique is not None and (kept := flow.kept(unique, new.type)) is not None:
            if principal is not None:
                principal.require_queue(kept.queue)
            # The request sent again gets the same answer, also when the window is over.
            return Submitted(kept, idempotent=True) if digest is None or _remember(digest, new, kept) else None
        created = create_it()
        return Submitted(flow.settle(created[0], new.flow, types[new.type]), idempotent=False) if created else None


def _remember(digest: str, new: NewJob, job: Job) -> bool:
    """Let an Idempotency-Key stand for a job that another request made. False if somebody else has just used it."""
    IdempotencyKey.objects.filter(digest=digest, expires_at__lte=Now()).delete()
    expires_at = Now() + Value(timedelta(seconds=load().idempotency_ttl_sec))
    used = IdempotencyKey(digest=digest, fingerprint=fingerprint(new), job=job, expires_at=expires_at)
    IdempotencyKey.objects.bulk_create([used], ignore_conflicts=True)
    return IdempotencyKey.objects.filter(digest=digest, job=job, fingerprint=used.fingerprint).exists()


def looks_at_others(new: NewJob, types: Mapping[str, JobType]) -> bool:
    """Whether making this job may change others, or depend on them; see `flow.alone`."""
    return flow.looks_at_others(new.flow, types[new.type])


def _keys(new: NewJob) -> list[tuple[str, str]]:
    """What it is to be alone with."""
    unique = new.flow.unique
    return [(new.type, new.flow.concurrency_key), *([(new.type, f"unique/{unique.key}")] if unique else [])]


def submit_batch(
    items: Sequence[NewJob], *, created_by: str, principal: Principal | None = None
) -> list[Submitted | Problem]:
    """Create many jobs in one transaction. Each item gets its job or its Problem; bad items do not stop the others."""
    types = types_of({item.type for item in items})
    results: list[Submitted | Problem] = []
    ready: list[NewJob] = []
    for item in items:
        try:
            ready.append(checked(item, types, principal))
        except Problem as problem:
            results.append(problem)
        else:
            results.append(_TO_COME)
    made = iter(make_all(ready, types, created_by=created_by, principal=principal))
    return [next(made) if result is _TO_COME else result for result in results]


_TO_COME = Problem(errors.INTERNAL_ERROR, "")
"""Stands for a job that is not made yet."""


def make_all(
    items: Sequence[NewJob],
    types: Mapping[str, JobType],
    *,
    created_by: str,
    principal: Principal | None = None,
    origins: Sequence[Origin] | None = None,
) -> list[Submitted]:
    """Checked jobs, in order, in one transaction. origins: of each item, where it is not `created_by` by itself."""
    results: list[Submitted | None] = [None] * len(items)
    places = {of: [n for n, item in enumerate(items) if looks_at_others(item, types) is of] for of in (True, False)}
    # A batch of which nothing looks at others is one statement, and so a transaction of its own. Otherwise all the keys
    # are taken first, in the one order that everybody takes them in.
    with flow.alone(key for n in places[True] for key in _keys(items[n])) if places[True] else contextlib.nullcontext():
        for n in places[True]:
            origin = origins[n] if origins else None
            results[n] = _make(items[n], types, created_by=created_by, principal=principal, origin=origin)
        if plain := places[False]:
            created = create(
                [items[n] for n in plain], types,
                created_by=created_by, principal=principal, origins=[origins[n] for n in plain] if origins else None,
            )  # fmt: skip
            for n, job in zip(plain, created, strict=True):
                results[n] = Submitted(job, idempotent=False)
    return [result for result in results if result is not None]


def fingerprint(new: NewJob) -> str:
    """SHA-256 of what makes two requests the same (contract 4.6), over canonical JSON: key order is no difference."""
    facts = asdict(new)
    if new.flow == NO_FLOW:
        del facts["flow"]
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


_remembered: dict[str, tuple[JobType, str]] = {}
"""Each type as this process last read it, and its row's version. create.sql writes nothing if that is another by now:
what is remembered saves a round trip and decides nothing."""
_REMEMBERED_MOST = 1000


def types_of(names: Iterable[str]) -> dict[str, JobType]:
    """By name, those that exist now."""
    found = {}
    for row in sql.rows("job_types", {"names": list(names)}):
        version = row.pop("version")
        found[row["name"]] = JobType(**row)
        if len(_remembered) >= _REMEMBERED_MOST:
            _remembered.clear()
        _remembered[row["name"]] = (found[row["name"]], version)
    return found


def checked(new: NewJob, types: Mapping[str, JobType], principal: Principal | None) -> NewJob:
    """`new` with the type's defaults. Raises Problem in the contract's order: fields, type, input, then the queue."""
    job_type = types.get(new.type)
    if job_type is None or not job_type.enabled:
        state = "does not exist" if job_type is None else "is disabled"
        raise bodies.invalid("type", f"job type {new.type[:80]!r} {state}; GET /v1/job-types lists the enabled ones")
    check_input(new.input, job_type.handler)
    if principal is not None:
        principal.require_queue(new.queue)
        require_reach(job_type, principal)
    key = flow.concurrency_key(new.flow, job_type, new.input)
    return replace(
        new,
        flow=replace(new.flow, concurrency_key=key),
        priority=5 if new.priority is None else new.priority,
        timeout_sec=job_type.default_timeout_sec if new.timeout_sec is None else new.timeout_sec,
        max_attempts=job_type.default_max_attempts if new.max_attempts is None else new.max_attempts,
    )


def require_reach(job_type: JobType, principal: Principal) -> None:
    """Raise FORBIDDEN where jobs of the type act on every queue and the caller may not use them all."""
    handler = registry.get(job_type.handler)
    if handler is not None and handler.reaches_all_queues and principal.queue_allowlist is not None:
        raise Problem(
            errors.FORBIDDEN,
            f"Jobs of the type {job_type.name!r} reach every queue: use a key without a queue allowlist, or"
            " POST /v1/jobs/bulk.",
        )


@dataclass(frozen=True)
class Siblings:
    """The group that jobs are made in, by the job that waits for them, and what it calls each of them.

    held: which of them wait for a person's approval.
    """

    group_id: uuid.UUID
    names: Sequence[str]
    held: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Origin:
    """Who made a job that nobody posted, and what its first log line says."""

    created_by: str
    message: str
    meta: Mapping[str, Any] | None = None
    """None: the job's own facts."""


def create(
    items: Sequence[NewJob],
    types: Mapping[str, JobType],
    *,
    created_by: str,
    principal: Principal | None = None,
    digest: str | None = None,
    log_message: str = "Job created",
    type_version: str | None = None,
    siblings: Siblings | None = None,
    origins: Sequence[Origin] | None = None,
) -> list[Job]:
    """Write checked jobs, in order, in one commit. origins: of each, instead of `created_by` and `log_message`.

    Empty when the Idempotency-Key `digest` is taken, or when the job type is not in `type_version` any more.
    """
    origins = origins or [Origin(created_by, log_message)] * len(items)
    wanted = [dependencies.named_in(item.input) for item in items]
    named = {name for names in wanted for name in names}
    # Without dependencies all is one statement, which is a transaction: BEGIN and COMMIT would be two more round trips.
    with transaction.atomic() if named else contextlib.nullcontext():
        states = dependencies.lock(named, principal)
        plans = [dependencies.plan(names, states) for names in wanted]
        trace = tracing.traceparent()
        records = [
            {
                "ord": ord_, "id": str(uuid.uuid4()), "type": item.type, "queue": item.queue, "priority": item.priority,
                "timeout_sec": item.timeout_sec, "max_attempts": item.max_attempts, "callback_url": item.callback_url,
                "tags": item.tags, "input": item.input,
                "waiting_on": plan.waiting_on + (siblings is not None and ord_ in siblings.held),
                "created_by": origin.created_by, "log_message": origin.message, "log_meta": origin.meta,
                "handler": types[item.type].handler, "type_version": type_version,
                "concurrency_key": item.flow.concurrency_key,
                "unique_key": item.flow.unique.key if item.flow.unique else "",
                "expires_in_sec": item.flow.expires_in_sec, "delay_sec": item.flow.delay_sec,
                "limited": flow.is_limited(types[item.type]),
                "group_id": str(siblings.group_id) if siblings else None,
                "child_name": siblings.names[ord_] if siblings else "",
                "pool": registry.pool_of(types[item.type].handler),
                "short": registry.is_short(types[item.type].handler),
                "trace": trace,
            }
            for ord_, (item, plan, origin) in enumerate(zip(items, plans, origins, strict=True))
        ]  # fmt: skip
        written = dumps(records)
        params = {
            "rows": written,
            "digest": digest,
            "fingerprint": fingerprint(items[0]) if digest else None,
            "ttl_sec": load().idempotency_ttl_sec,
            "publish": len(items) == 1,
            "ageing_sec": dispatch.ageing_sec(),
            **dispatch.window_params(),
        }
        rows = sql.rows("create", params)
        # From the text, not from `records`: in it all is as Postgres has it.
        jobs = [_made(record, row) for record, row in zip(json.loads(written) if rows else [], rows, strict=True)]
        if named:
            for job, plan in zip(jobs, plans if jobs else [], strict=True):
                dependencies.link(job, plan)
        dispatch.after_commit(partial(_announce, jobs, wants_fill=any(row["wants_fill"] for row in rows)))
    return jobs


_GIVEN = (
    "type", "queue", "priority", "timeout_sec", "max_attempts", "callback_url", "tags", "input", "waiting_on",
    "created_by", "concurrency_key", "unique_key", "child_name", "pool", "short", "trace",
)  # fmt: skip
_WRITTEN = ("id", "created_at", "updated_at", "available_at", "turn_at", "expires_at", "published_at")
_COLUMNS = [field.attname for field in Job._meta.concrete_fields]
_UNTOUCHED = {name: getattr(Job(), name) for name in _COLUMNS}
"""A job's columns before anything is said of it."""


def _made(record: Mapping[str, Any], row: Mapping[str, Any]) -> Job:
    """The job as its row is, from what was written and what create.sql added: reading all back costs more."""
    values = {
        **_UNTOUCHED,
        **{name: record[name] for name in _GIVEN},
        **{name: row[name] for name in _WRITTEN},
        "group_id": uuid.UUID(record["group_id"]) if record["group_id"] else None,
    }
    return Job.from_db(DEFAULT_DB_ALIAS, _COLUMNS, list(values.values()))


def _announce(jobs: Sequence[Job], *, wants_fill: bool) -> None:
    """After the commit: push what the statement put into the window; what needs a look at others is filled in."""
    if len(jobs) == 1 and jobs[0].published_at is not None:
        facts = ("id", "queue", "pool", "fence", "priority", "timeout_sec", "short")
        with tracing.span("publish", kind="producer", job_id=str(jobs[0].id), queue=jobs[0].queue):
            dispatch.publish([{name: getattr(jobs[0], name) for name in facts}])
    elif len(jobs) > 1 or wants_fill:
        for queue, pool in dict.fromkeys((job.queue, job.pool) for job in jobs):
            dispatch.fill(queue, pool)
    if jobs:
        live.announce([job.id for job in jobs])
