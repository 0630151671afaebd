"""Results that are too large for lists and streams: kept apart, and read where they are asked for (docs/adr/0020)."""

from __future__ import annotations

import json
from typing import Any

from jobs.models import CallbackDelivery, Job, LargeResult


def shown(job: Job) -> Any:
    """The job's result; for one that is kept apart, its size and where it is."""
    if job.result_size_bytes is None:
        return job.result
    return {"result_size_bytes": job.result_size_bytes, "result_url": f"/v1/jobs/{job.id}/result"}


def of(job: Job) -> Any:
    """The job's result, wherever it is kept."""
    return job.result if job.result_size_bytes is None else json.loads(_content(job.id))


def text(job: Job) -> str:
    """The same as JSON text."""
    if job.result_size_bytes is not None:
        return _content(job.id)
    return json.dumps(job.result, ensure_ascii=False, separators=(",", ":"))


def payload(delivery: CallbackDelivery) -> dict[str, Any]:
    """What a callback carries, with the whole result."""
    if delivery.job_id is None or delivery.payload.get("result_size_bytes") is None:
        return dict(delivery.payload)
    return {**delivery.payload, "result": json.loads(_content(delivery.job_id))}


def _content(job_id: Any) -> str:
    """ "null" for a job that was deleted a moment ago."""
    return LargeResult.objects.filter(pk=job_id).values_list("content", flat=True).first() or "null"
