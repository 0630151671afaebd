"""Jobs whose handler does what a test says, and short ones of that kind, run in one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import psycopg
import pytest
from django.db import connection
from pydantic import BaseModel

from jobs import attempts, bundle, execution
from jobs.handlers import registry
from jobs.handlers.base import Handler, JobContext
from jobs.models import Attempt, Job, JobLog
from jobs.slots import Slots
from jobs.transitions import Claimable
from tests.conftest import NODE, WORKER
from tests.running import wait_until

Action = Callable[[JobContext[Any]], Any]


class Nothing(BaseModel):
    """Input and output."""


class ByName(Handler[Nothing, Nothing]):
    """Does what the test says of this job."""

    id = "test:by-name"
    Input = Nothing
    Output = Nothing
    actions: ClassVar[dict[Any, Action]] = {}

    def run(self, ctx: JobContext[Nothing]) -> Any:
        action = self.actions.get(ctx.job_id)
        return Nothing() if action is None else action(ctx)


class Short(ByName):
    """The same, and short."""

    id = "test:short"
    short = True


Make = Callable[..., Job]


def maker(of: type[ByName], make_type: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a job, and takes what its handler does."""
    monkeypatch.setitem(registry.installed(), of.id, of())
    monkeypatch.setattr(of, "actions", {})
    name = of.id.replace(":", ".")
    make_type(name, handler=of.id)

    def once(action: Action | None = None, **fields: Any) -> Job:
        job: Job = make_job(name, **fields)
        if action is not None:
            of.actions[job.id] = action
        return job

    return once


def lose_connection(_: JobContext[Any]) -> Nothing:
    """The handler's process has no connection to Postgres any more, and does not know it yet."""
    there = connection.settings_dict
    with psycopg.connect(
        host=there["HOST"], port=there["PORT"], user=there["USER"], password=there["PASSWORD"],
        dbname=there["NAME"], autocommit=True,
    ) as other:  # fmt: skip
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    return Nothing()


def wanted(job: Job) -> Claimable:
    return Claimable(job.id, now(job).fence, WORKER, NODE)


def run(*jobs: Job, slots: Slots | None = None) -> list[str]:
    """One message of them all. Returns what they are then."""
    execution.run_attempts([[wanted(job) for job in jobs]], slots=slots)
    return states(*jobs)


def now(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def states(*jobs: Job) -> list[str]:
    return [now(job).status for job in jobs]


def outcomes(job: Job) -> list[str]:
    return list(Attempt.objects.filter(job=job).order_by("number").values_list("outcome", flat=True))


def log(job: Job) -> list[str]:
    return list(JobLog.objects.filter(job=job).order_by("id").values_list("message", flat=True))


def overdue() -> None:
    """Let the bundle that runs be one that has taken too long."""
    running = bundle._watch._bundle
    assert running is not None
    running.due_at = 0.0


def settled(*jobs: Job) -> None:
    """Wait until nobody holds any of these."""
    wait_until(lambda: "running" not in states(*jobs), what="the bundle to be taken apart")


def fail(_: JobContext[Any]) -> Nothing:
    raise ValueError("no")


def claimed_together(make: Make, count: int = 3, **fields: Any) -> list[tuple[Any, int]]:
    jobs = [make(**fields) for _ in range(count)]
    claims = attempts.claim_all([wanted(job) for job in jobs])
    return [(it.id, it.fence) for it in claims]
