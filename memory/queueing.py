"""Asking for embedding jobs: as few as are needed, and no memory forgotten.

One job that has not begun is enough, for it takes every memory that waits when it begins. Whoever writes a memory
looks for such a job after the commit, so that the job cannot have looked before. The heartbeat makes up for a crash in
between.
"""

from __future__ import annotations

import logging
import uuid

from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from jobs import submission
from jobs.flow import Flow
from jobs.models import Job, Status
from jobs.requests import NewJob
from jobs.storable import error_json
from memory import queries
from memory.models import EmbeddingStatus, Memory
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

logger = logging.getLogger("memory.queueing")

ACTOR = "memory"
"""Who makes the jobs of this app."""
KEY = "memory"
"""The concurrency key of its jobs: what they are found by."""
TAGS = ("memory", "embedding")


def embed_soon(memory_id: uuid.UUID) -> None:
    """Have a memory embedded that was written, and committed, before.

    Raises MEMORY_EMBED_QUEUE_FAILED when no job could be made; the memory is marked as failed, to be tried again.
    """
    type_ = load().memory_embed_queue_type
    try:
        if not waiting(type_):
            _submit(memory_id)
    except (Problem, DatabaseError) as error:
        logger.warning("no embedding job for memory %s: %s", memory_id, error)
        details = {"memory_id": str(memory_id), "queue_type": type_}
        message = f"The memory is saved, but no {type_!r} job could be made to embed it: {error}"
        told = error_json(message, code=errors.MEMORY_EMBED_QUEUE_FAILED.name, details=details)
        Memory.objects.filter(pk=memory_id, embedding_status=EmbeddingStatus.PENDING).update(
            embedding_status=EmbeddingStatus.FAILED, embedding_error=told
        )
        raise Problem(errors.MEMORY_EMBED_QUEUE_FAILED, message, details) from error


def embed_overdue() -> bool:
    """The heartbeat's part: a job for memories that wait although no job is there for them. Whether one was made."""
    return not open_jobs(load().memory_embed_queue_type) and embed_rest()


def embed_rest() -> bool:
    """A job for memories that wait, unless one waits for them. Whether one was made."""
    if waiting(load().memory_embed_queue_type):
        return False
    due, ready = queries.live().filter(embed_after__lte=Now()), Q(embedding_status=EmbeddingStatus.READY)
    # Two queries, each with an index of its own.
    for some in (due.exclude(ready), due.filter(ready)):
        if (memory_id := some.order_by("embed_after").values_list("pk", flat=True).first()) is not None:
            _submit(memory_id)
            return True
    return False


def waiting(type_: str) -> bool:
    """Whether a job of this app waits to begin for the first time. Served by job_open_by_key."""
    return _open(type_).filter(status=Status.QUEUED, attempts=0).exists()


def open_jobs(type_: str) -> bool:
    """Whether a job of this app waits or runs. Served by job_open_by_key."""
    return _open(type_).exists()


def make(type_: str, input_: dict[str, object], *, priority: int, timeout_sec: int, max_attempts: int) -> Job:
    """A job of this app. Raises Problem where the type is missing or disabled."""
    new = NewJob(
        type=type_, input=input_, priority=priority, timeout_sec=timeout_sec, max_attempts=max_attempts, tags=TAGS,
        flow=Flow(concurrency_key=KEY),
    )  # fmt: skip
    return submission.submit(new, created_by=ACTOR).job


def _open(type_: str) -> QuerySet[Job]:
    return Job.objects.filter(type=type_, concurrency_key=KEY, status__in=[Status.QUEUED, Status.RUNNING])


def _submit(memory_id: uuid.UUID) -> None:
    """The contract's job (8.2)."""
    make(load().memory_embed_queue_type, {"memory_id": str(memory_id)}, priority=9, timeout_sec=60, max_attempts=3)
