"""Jobs, log lines and attempts as the v1 contract shows them: the one place that knows the shapes and key orders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, PydanticUserError
from pydantic.json_schema import JsonSchemaMode

from jobs import results
from jobs.handlers import registry
from jobs.models import Attempt, CallbackDelivery, Job, JobLog, JobType
from jobs.queries import FailureGroup
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none

Json = Any
"""Whatever JSON can hold, as Python objects."""


def job_json(job: Job, *, whole: bool = False) -> dict[str, Json]:
    """The contract's job object (2.2): exactly these 15 keys in this order.

    whole: with a result that is kept apart, too (one more statement, for such a job alone); else what stands for it.
    """
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
        "result": results.of(job) if whole else results.shown(job),
        "error": job.error,
        "created_at": iso_ms(job.created_at),
        "updated_at": iso_ms(job.updated_at),
    }


def flow_json(job: Job) -> dict[str, Json]:
    """What was said of the job's turn, and where it stands: `in_window_since` is when it was handed to the workers."""
    return {
        "concurrency_key": job.concurrency_key or None,
        "unique_key": job.unique_key or None,
        "available_at": iso_ms(job.available_at),
        "expires_at": iso_ms_or_none(job.expires_at),
        "in_window_since": iso_ms_or_none(job.published_at),
    }


def tree_json(rows: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """A job with its children in it, and theirs in them, in the order they were made. rows: of tree.sql."""
    nodes: dict[Any, dict[str, Json]] = {}
    for row in sorted(rows, key=lambda row: (row["created_at"], row["id"])):
        node = nodes[row["id"]] = {
            "id": str(row["id"]),
            "name": row["name"] or None,
            "type": row["type"],
            "queue": row["queue"],
            "status": row["status"],
            "error_code": row["error_code"],
            "series": row["series"],
            "phase": row["phase"],
            "created_at": iso_ms(row["created_at"]),
            "finished_at": iso_ms_or_none(row["finished_at"]),
            "child_count": row["children"] - row["hidden"],
            "children": [],
        }
        if row["parent_id"] in nodes:
            nodes[row["parent_id"]]["children"].append(node)
    return next(iter(nodes.values()))


def failures_json(groups: Sequence[FailureGroup]) -> list[dict[str, Json]]:
    """Failed jobs, grouped."""
    return [
        {
            "type": group.type,
            "error_code": group.error_code,
            "count": group.count,
            "last_failed_at": iso_ms(group.last_failed_at),
        }
        for group in groups
    ]


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


def type_json(job_type: JobType) -> dict[str, Json]:
    """A job type: the contract's keys (2.7), the retry policy, the limits, and what its handler says about itself."""
    return {
        "name": job_type.name,
        "enabled": job_type.enabled,
        "handler": job_type.handler,
        "default_timeout_sec": job_type.default_timeout_sec,
        "default_max_attempts": job_type.default_max_attempts,
        "retry": {
            "base_sec": job_type.retry_base_sec,
            "factor": job_type.retry_factor,
            "max_sec": job_type.retry_max_sec,
            "jitter": job_type.retry_jitter,
        },
        "paused": job_type.paused,
        "limits": {
            "max_running": job_type.max_running,
            "max_running_per_key": job_type.max_running_per_key,
            "key_pointer": job_type.key_pointer or None,
            "on_limit": job_type.on_limit,
            "rate": _rate_json(job_type),
        },
        **_handler_json(job_type.handler),
    }


def _rate_json(job_type: JobType) -> dict[str, Json] | None:
    if job_type.rate_limit is None:
        return None
    return {
        "limit": job_type.rate_limit,
        "period_sec": job_type.rate_period_sec,
        "per_key": job_type.rate_per_key,
    }


@cache
def _handler_json(handler_id: str) -> dict[str, Json]:
    """Cached: schemas take a millisecond to make, and the installed handlers do not change while a process lives."""
    handler = registry.get(handler_id)
    return {
        "handler_installed": handler is not None,
        "needs": handler.needs.model_dump() if handler else None,
        "input_schema": _schema(handler.Input, "validation") if handler else None,
        "output_schema": _schema(handler.Output, "serialization") if handler else None,
    }


def _schema(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Json] | None:
    """The model's JSON Schema; None for a plug-in's model that has none, which must not break the list of types."""
    try:
        return model.model_json_schema(mode=mode)
    except PydanticUserError:
        return None


def delivery_json(delivery: CallbackDelivery) -> dict[str, Json]:
    """One callback of one end of a job. `next_try_at` is null when no further try is planned."""
    is_pending = delivery.state == CallbackDelivery.State.PENDING
    return {
        "id": delivery.id,
        "job_id": str(delivery.job_id) if delivery.job_id else None,
        "series": delivery.series,
        "url": delivery.url,
        "state": delivery.state,
        "tries": delivery.tries,
        "next_try_at": iso_ms(delivery.next_try_at) if is_pending else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "created_at": iso_ms(delivery.created_at),
        "delivered_at": iso_ms_or_none(delivery.delivered_at),
    }
