"""Memories written the real way, and their embedding jobs run as a worker's process runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from jobs import execution, job_types
from jobs.models import Job, Status
from jobs.transitions import Claimable
from memory import embedders
from memory.models import Memory, Session
from tests.apiclient import Api
from tests.conftest import WORKER

Remember = Callable[..., Memory]
EMBED, UPKEEP = "system.memory.embed.sync", "system.memory.upkeep"


@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    yield
    embedders.close()


@pytest.fixture
def remember(api: Api) -> Remember:
    """A memory posted to the API: scope `notes`, a key of its own."""
    job_types.seed()

    def post(value: Any = "a thing worth knowing", **fields: Any) -> Memory:
        key = f"note.{Memory.objects.count() + 1}"
        answer = api.post("/v1/memory", {"scope": "notes", "key": key, "value": value, **fields})
        assert answer.status == 201, answer.text
        return Memory.objects.get(pk=answer.json["memory"]["id"])

    return post


@pytest.fixture
def by_ollama(configure: Callable[..., Any], models: Any) -> Any:
    """The stand-in as the embedding server; the fixture `api` must come before."""
    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)
    return models


def jobs_of(type_: str = EMBED, *statuses: str) -> list[Job]:
    """Jobs of a type, the oldest first; those of these states, else all."""
    found = Job.objects.filter(type=type_).order_by("created_at")
    return list(found.filter(status__in=statuses) if statuses else found)


def run(job: Job) -> Job:
    """An attempt of the job, as a worker's process makes it."""
    Job.objects.filter(pk=job.pk, published_at=None).update(published_at=F("created_at"))
    execution.run_attempts([[Claimable(job.pk, job.fence, WORKER, None)]])
    job.refresh_from_db()
    return job


def run_jobs(type_: str = EMBED) -> list[Job]:
    """The open jobs of a type, each one's next attempt, and what jobs those made."""
    done: list[Job] = []
    while queued := [job for job in jobs_of(type_, Status.QUEUED) if job.pk not in {it.pk for it in done}]:
        done += [run(job) for job in queued]
    return done


def let_pass(seconds: float) -> None:
    """As if so much time had gone by: what expires, and what is to be embedded later, lies so much further back."""
    back = timedelta(seconds=seconds)
    Memory.objects.update(expires_at=F("expires_at") - back, embed_after=F("embed_after") - back)
    Session.objects.update(expires_at=F("expires_at") - back)
