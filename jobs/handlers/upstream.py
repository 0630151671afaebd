"""What the handlers that ask other servers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from jobs.handlers.base import AttemptFailed
from rauskuclaw import errors
from rauskuclaw.netguard import BlockedUrl, what_failed


@contextmanager
def failing_as(job_type: str, where: str, *, timeout_ms: int) -> Iterator[None]:
    """Tell faults of the guarded client as failures of the attempt: POLICY_DENIED (for good) or UPSTREAM_ERROR.

    where: `from example.org`, for the message.
    """
    try:
        yield
    except BlockedUrl as blocked:
        raise AttemptFailed(errors.POLICY_DENIED, f"{job_type} refused: {blocked.reason}") from None
    except httpx.TimeoutException:
        raise AttemptFailed(errors.UPSTREAM_ERROR, f"{job_type} timeout after {timeout_ms}ms") from None
    except httpx.HTTPError as error:
        reason = what_failed(error, timeout_sec=timeout_ms / 1000)
        raise AttemptFailed(errors.UPSTREAM_ERROR, f"{job_type} {where} failed: {reason}") from None
