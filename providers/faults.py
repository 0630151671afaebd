"""The PROVIDER_* taxonomy (contract 7.4): what providers and their libraries raise, told as one kind of failure."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jobs.handlers.base import AttemptFailed, Retry
from rauskuclaw import errors
from rauskuclaw.logs import redacted_text

MAX_RETRY_AFTER_SEC = 3600.0
MAX_MESSAGE_CHARS = 500
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429})
"""And all from 500 on."""
_SECONDS = re.compile(r"\d{1,9}(\.\d+)?")


class Fault(Exception):
    """A call of a model failed. The message may hold what the provider said, cleaned of secrets.

    details: as the contract has them, e.g. `{"status": 429}`. after_sec: when the provider asked to come back.
    """

    def __init__(
        self,
        code: errors.Code,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        retryable: bool | None = None,
        after_sec: float | None = None,
    ) -> None:
        self.code, self.message = code, redacted_text(message)
        self.details = dict(details or {})
        self.retryable = bool(code.retryable) if retryable is None else retryable
        self.after_sec = after_sec
        super().__init__(self.message)

    def as_failure(self) -> AttemptFailed:
        """The end of the attempt; one that comes back no earlier than the provider asked for."""
        details = self.details or None
        if self.retryable and self.after_sec is not None:
            return Retry(self.message, after_sec=self.after_sec, code=self.code, details=details)
        return AttemptFailed(self.code, self.message, details, retryable=self.retryable)


def http_fault(who: str, status: int, said: str, headers: Mapping[str, str]) -> Fault:
    """The provider answered with an error. 429, 5xx and the like are worth another attempt; others are not."""
    after_sec = retry_after_sec(headers.get("retry-after"))
    details = {"status": status} | ({} if after_sec is None else {"retry_after_sec": after_sec})
    told = f": {said[:MAX_MESSAGE_CHARS]}" if said else ""
    retryable = status in RETRYABLE_STATUSES or status >= 500
    message = f"{who} answered with status {status}{told}"
    return Fault(errors.PROVIDER_HTTP, message, details, retryable=retryable, after_sec=after_sec)


def retry_after_sec(value: str | None, *, now: datetime | None = None) -> float | None:
    """The wait that a Retry-After header asks for, in seconds, at most an hour; None where it says nothing usable."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(MAX_RETRY_AFTER_SEC, float(value))
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(MAX_RETRY_AFTER_SEC, max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()))


def timeout_fault(who: str, silence_sec: float) -> Fault:
    """Nothing came for too long."""
    return Fault(errors.PROVIDER_TIMEOUT, f"{who} was silent for {silence_sec:g} s")


def network_fault(who: str, error: BaseException) -> Fault:
    """The connection was not made, or broke."""
    return Fault(errors.PROVIDER_NETWORK, f"the connection to {who} failed: {str(error) or type(error).__name__}")


def protocol_fault(who: str, error: Exception) -> Fault:
    """What came is not the protocol."""
    return Fault(errors.PROVIDER_RESPONSE, f"{who} sent what is not its protocol ({type(error).__name__})")
