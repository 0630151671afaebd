"""What transitions are made of: how an attempt ends, what is to be claimed, and what a claim gives.

jobs/lifecycle.py makes them happen.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from jobs.dispatch import SHORT_PER_PLACE
from jobs.models import OnFailure, Outcome
from jobs.storable import NotStorable, dumps, error_json, log_line
from rauskuclaw import errors
from rauskuclaw.config import load

if TYPE_CHECKING:
    from jobs.handlers.base import ChildResult

MAX_RESULT_BYTES = 8 * 1024 * 1024
LAST = 2_147_483_646
"""Sorts a transition's own line after the attempt's (and before `Re-queued for retry`)."""


@dataclass(frozen=True)
class RetryPolicy:
    """Waits between attempts: base × factor^(n-1), at most max, of which a share `jitter` is random. Seconds."""

    base_sec: float = 2.0
    factor: float = 2.0
    max_sec: float = 300.0
    jitter: float = 0.2

    def wait_sec(self, attempts: int) -> float:
        """The wait after `attempts` attempts have failed."""
        wait = min(self.max_sec, self.base_sec * self.factor ** max(0, attempts - 1))
        return wait * (1 + self.jitter * (2 * random.random() - 1))  # noqa: S311 - spreads load, hides nothing


@dataclass(frozen=True)
class Claimable:
    """An attempt that a message is about, and who wants it. lease_sec: how long it may go without a sign of life."""

    id: uuid.UUID
    fence: int
    worker: str
    node: uuid.UUID | None
    lease_sec: float = field(default_factory=lambda: load().lease_sec)


def claim_params(wanted: Sequence[Claimable]) -> dict[str, Any]:
    """As claim.sql takes them. One worker wants them all."""
    one = wanted[0]
    return {
        "ids": [it.id for it in wanted], "fences": [it.fence for it in wanted], "worker": one.worker, "node": one.node,
        "lease_sec": one.lease_sec, "short_per_place": SHORT_PER_PLACE,
    }  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One attempt that this worker holds: the job's facts it needs, and how full the queue's window is."""

    id: uuid.UUID
    type: str
    queue: str
    pool: str
    input: Any
    attempts: int
    max_attempts: int
    fence: int
    timeout_sec: int
    started_at: datetime
    phase: int
    """How often the job has made children in this series."""
    trace: str | None
    """The traceparent of whoever made the job."""
    children: Sequence[ChildResult] = field(default=(), kw_only=True)
    """What the last of them came to; `attempts.claim` reads them."""
    state: Any = field(default=None, kw_only=True)
    handler: str | None
    """None: the job's type does not exist."""
    enabled: bool
    retry: RetryPolicy
    takes_limit: bool
    """Whether its end makes room for a job that a limit holds back."""
    left_in_window: int
    has_backlog: bool

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """From the row that claim.sql returns."""
        policy = [row.pop(name) for name in ("retry_base_sec", "retry_factor", "retry_max_sec", "retry_jitter")]
        if isinstance(row["input"], str):
            row["input"] = json.loads(row["input"])
        retry = RetryPolicy(*policy) if row["handler"] else RetryPolicy()
        return cls(retry=retry, **row | {"enabled": bool(row["enabled"])})


@dataclass(frozen=True)
class Finish:
    """How a running attempt ends. record: as end_attempts.sql takes it."""

    job_id: uuid.UUID
    record: dict[str, Any]

    @classmethod
    def success(
        cls,
        job_id: uuid.UUID,
        fence: int,
        *,
        result: Any,
        lines: Sequence[dict[str, Any]] = (),
        ran_ms: int | None = None,
    ) -> Self:
        """running → succeeded. Raises NotStorable if `result` is not JSON, or is too large."""
        encoded = dumps(result)
        size_bytes = len(encoded.encode())
        if size_bytes > MAX_RESULT_BYTES:
            raise NotStorable(f"{size_bytes} bytes of JSON; at most {MAX_RESULT_BYTES} are kept")
        is_large = size_bytes > load().result_inline_max_bytes
        line = log_line(LAST, "Job succeeded", "info", None, None)
        return cls._of(
            job_id, fence, Outcome.SUCCEEDED, [*lines, line], result=None if is_large else encoded,
            large_result=encoded if is_large else None, ran_ms=ran_ms,
        )  # fmt: skip

    @classmethod
    def failure(
        cls,
        job_id: uuid.UUID,
        fence: int,
        *,
        code: str | None,
        message: str,
        details: Any = None,
        retry: bool,
        retry_in_sec: float = 0.0,
        handler: str = "",
        outcome: Outcome = Outcome.FAILED,
        lines: Sequence[dict[str, Any]] = (),
        ran_ms: int | None = None,
    ) -> Self:
        """running → queued again while `retry` and attempts are left, else → failed."""
        error = error_json(message, code=code, details=details)
        meta = {"error": error["message"], "code": error["code"], "details": details, "handler": handler}
        line = log_line(LAST, "Job failed", "error", meta, None)
        return cls._of(
            job_id, fence, outcome, [*lines, line], error=dumps(error), retry=retry, retry_in_sec=retry_in_sec,
            ran_ms=ran_ms,
        )  # fmt: skip

    @classmethod
    def loss(cls, job_id: uuid.UUID, fence: int, *, reason: str) -> Self:
        """running → queued again or failed with WORKER_LOST: the worker that held the lease is gone."""
        error = error_json(f"the worker was lost while it ran this job: {reason}", code=errors.WORKER_LOST.name)
        line = log_line(0, "Worker lost", "error", {"reason": reason}, None)
        wait_sec = RetryPolicy(base_sec=1.0).wait_sec(1)
        return cls._of(
            job_id, fence, Outcome.LOST, [line], error=dumps(error), retry=True, retry_in_sec=wait_sec, loss=1
        )

    @classmethod
    def _of(
        cls,
        job_id: uuid.UUID,
        fence: int,
        outcome: Outcome,
        lines: Sequence[dict[str, Any]],
        *,
        result: str | None = None,
        large_result: str | None = None,
        error: str | None = None,
        retry: bool = False,
        retry_in_sec: float = 0.0,
        loss: int = 0,
        ran_ms: int | None = None,
    ) -> Self:
        record = {
            "id": str(job_id), "fence": fence, "outcome": outcome.value, "retry": retry, "retry_in_sec": retry_in_sec,
            "loss": loss, "result": result, "large_result": large_result, "error": error, "lines": list(lines),
            "ran_ms": ran_ms,
        }  # fmt: skip
        return cls(job_id, record)

    @property
    def is_large(self) -> bool:
        """Whether it carries a result too large to be told with others'."""
        return self.record["large_result"] is not None


def end_params(ends: Sequence[Finish], *, alone: bool) -> dict[str, Any]:
    """As end_attempts.sql takes them."""
    return {
        "ends": dumps([end.record for end in ends]), "ids": [end.job_id for end in ends], "alone": alone,
        "loss_limit": load().worker_lost_limit,
    }  # fmt: skip


@dataclass(frozen=True)
class Group:
    """What a job that waits for children is to remember."""

    id: uuid.UUID
    size: int
    depth: int
    on_failure: OnFailure
    state: Any
