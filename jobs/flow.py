"""Flow control when a job is made: its keys, and what it does to others of the same key. What runs when is fill.sql's.

Everything here that looks at other jobs does so under an advisory lock of the key, so that of two jobs made at once one
comes first. Only jobs that ask for it, and types that act on a limit, pay for that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs import bodies, lifecycle
from jobs.models import SUSPENDED, Job, JobType, OnLimit, Status
from rauskuclaw import errors

MAX_KEY_CHARS = 200
MAX_WINDOW_SEC = 86_400
MAX_EXPIRES_IN_SEC = 30 * 86_400

Fault = tuple[str, str]
"""(path, message)."""


@dataclass(frozen=True)
class Unique:
    """Debouncing: of the jobs of one type and key made within a window, one runs.

    keep: the first; a later request is answered with it. replace: the last, `window_sec` after it was made; those
    before it that have not begun are cancelled.
    """

    key: str
    window_sec: int
    policy: Literal["keep", "replace"] = "keep"


@dataclass(frozen=True)
class Flow:
    """What a request says of its job's turn."""

    concurrency_key: str = ""
    expires_in_sec: int | None = None
    """The job fails if it has not begun by then."""
    unique: Unique | None = None

    @property
    def delay_sec(self) -> int:
        """How long the job waits at least."""
        return self.unique.window_sec if self.unique is not None and self.unique.policy == "replace" else 0


NO_FLOW = Flow()


def parse(body: Mapping[str, Any], faults: list[Fault]) -> Flow:
    """The fields `concurrency_key`, `expires_in_sec` and `unique` of a request; what is wrong is added to `faults`."""
    key = body.get("concurrency_key")
    if key is not None and not _is_key(key):
        faults.append(("concurrency_key", f"concurrency_key must be a text of 1 to {MAX_KEY_CHARS} characters"))
        key = None
    expires_in_sec = bodies.whole(body.get("expires_in_sec"))
    if expires_in_sec is not None and not _is_whole(expires_in_sec, MAX_EXPIRES_IN_SEC):
        faults.append(("expires_in_sec", f"expires_in_sec must be a whole number from 1 to {MAX_EXPIRES_IN_SEC}"))
        expires_in_sec = None
    return Flow(key or "", expires_in_sec, _unique(body.get("unique"), faults))


def _unique(value: Any, faults: list[Fault]) -> Unique | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        faults.append(("unique", 'unique must be an object: {"key", "window_sec", "policy"}'))
        return None
    key, window_sec, policy = value.get("key"), bodies.whole(value.get("window_sec")), value.get("policy", "keep")
    found = [
        ("unique.key", f"unique.key must be a text of 1 to {MAX_KEY_CHARS} characters", _is_key(key)),
        (
            "unique.window_sec",
            f"unique.window_sec must be a whole number from 1 to {MAX_WINDOW_SEC}",
            _is_whole(window_sec, MAX_WINDOW_SEC),
        ),
        ("unique.policy", 'unique.policy must be "keep" or "replace"', policy in ("keep", "replace")),
    ]
    wrong = [(path, message) for path, message, is_right in found if not is_right]
    faults += wrong
    return None if wrong or window_sec is None else Unique(str(key), int(window_sec), policy)


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_KEY_CHARS


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def concurrency_key(flow: Flow, job_type: JobType, input_: Any) -> str:
    """The key of a job: the request's own, else what the type's pointer finds in the input; empty for none.

    A value that is no text is taken as JSON; one too long for a key, by its SHA-256.
    """
    if flow.concurrency_key or not job_type.key_pointer:
        return flow.concurrency_key
    value = at_pointer(input_, job_type.key_pointer)
    if value is None:
        return ""
    key = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return key if len(key) <= MAX_KEY_CHARS else hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def at_pointer(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) finds; None where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def is_limited(job_type: JobType) -> bool:
    """Whether only fill.sql may publish jobs of this type."""
    limits = (job_type.max_running, job_type.max_running_per_key, job_type.rate_limit)
    return job_type.paused or any(limit is not None for limit in limits)


def looks_at_others(flow: Flow, job_type: JobType) -> bool:
    """Whether making the job needs `alone`."""
    return flow.unique is not None or bool(flow.concurrency_key and job_type.on_limit != OnLimit.WAIT)


@contextmanager
def alone(keys: Iterable[tuple[str, str]]) -> Iterator[None]:
    """A transaction in which nobody else makes jobs of these (type, key) pairs."""
    with transaction.atomic():
        for type_, key in sorted(set(keys)):  # one order for all, so that nobody waits in a circle
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended('rauskuclaw:key:' || %s || '/' || %s, 0))",
                    [type_, key],
                )
        yield


def kept(unique: Unique, type_: str) -> Job | None:
    """The job that a new one of this key is answered with instead of being made."""
    if unique.policy != "keep":
        return None
    return _of_unique_key(unique, type_).exclude(status=Status.CANCELLED).order_by("-created_at").first()


def settle(job: Job, flow: Flow, job_type: JobType) -> Job:
    """After the job was made: cancel those it replaces, or itself. The job, as it is then."""
    if flow.unique is not None and flow.unique.policy == "replace":
        replaced = _of_unique_key(flow.unique, job.type).filter(status=Status.QUEUED, fence=0).exclude(pk=job.pk)
        _replace(replaced, by=job)
    if not job.concurrency_key or job_type.on_limit == OnLimit.WAIT or job_type.max_running_per_key is None:
        return job
    others = list(
        Job.objects.filter(type=job.type, concurrency_key=job.concurrency_key, status__in=Status.open())
        .exclude(pk=job.pk)
        # One that waits for its children takes up no limit, and may be this job's own parent.
        .exclude(SUSPENDED)
        .order_by("created_at", "pk")
        .values_list("pk", flat=True)
    )
    surplus = len(others) + 1 - job_type.max_running_per_key
    if surplus > 0 and job_type.on_limit == OnLimit.DROP_NEW:
        return lifecycle.cancel(job.id, by="the limit of its key", reason=errors.DROPPED)
    _replace(Job.objects.filter(pk__in=others[: max(0, surplus)], status__in=Status.open()), by=job)
    return job


def _replace(jobs: QuerySet[Job], *, by: Job) -> None:
    """Cancel those that are still as the query says once their rows are locked: any may begin or end at this moment."""
    for other in jobs.order_by("created_at", "pk").select_for_update().values_list("pk", flat=True):
        lifecycle.cancel(other, by=f"job {by.id}", reason=errors.REPLACED)


def _of_unique_key(unique: Unique, type_: str) -> QuerySet[Job]:
    since = Now() - timedelta(seconds=unique.window_sec)
    return Job.objects.filter(type=type_, unique_key=unique.key, created_at__gt=since)
