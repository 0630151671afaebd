"""Jobs, log lines and attempts as the v1 contract shows them: the one place that knows the shapes and key orders."""

from __future__ import annotations

from typing import Any

from jobs.models import Attempt, Job, JobLog
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none

Json = Any
"""Whatever JSON can hold, as Python objects."""


def job_json(job: Job) -> dict[str, Json]:
    """The contract's job object (2.2): exactly these 15 keys in this order."""
    return {
        "id": str(job.id),
        "type": job.type,
        "queue": job.queue,
        "status": job.status,
        "priority": job.priority,
        "timeout_sec": job.timeout_sec,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "callback_url": job.callback_url,
        "tags": job.tags,
        "input": job.input,
        "result": job.result,
        "error": job.error,
        "created_at": iso_ms(job.created_at),
        "updated_at": iso_ms(job.updated_at),
    }


def log_json(line: JobLog) -> dict[str, Json]:
    """One log line (2.5). `id` grows in commit order within a job and is the cursor of the live stream."""
    return {
        "id": line.id,
        "ts": iso_ms(line.ts),
        "level": line.level,
        "message": line.message,
        "meta": line.meta,
    }


def attempt_json(attempt: Attempt) -> dict[str, Json]:
    """One try at a job. `number` is unique for the job for ever; `ordinal` counts within its series. Times in ms."""
    return {
        "number": attempt.number,
        "series": attempt.series,
        "ordinal": attempt.ordinal,
        "outcome": attempt.outcome,
        "worker": attempt.worker,
        "error": attempt.error,
        "started_at": iso_ms(attempt.started_at),
        "ended_at": iso_ms_or_none(attempt.ended_at),
        "waited_ms": attempt.waited_ms,
        "ran_ms": attempt.ran_ms,
    }
