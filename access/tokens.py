"""Stream tokens: short-lived credentials for an EventSource or a WebSocket, which cannot send headers (contract 1.5).

A token is signed, not stored: every web process accepts it, and it survives restarts. It holds the job it is limited
to and a reference to the credential it was minted with, never that credential; its rights are looked up on each use,
so it dies with the key and never allows more than the key does now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.core.signing import BadSignature, TimestampSigner
from django.utils import timezone

from access.credentials import principal_for_reference
from access.principals import Principal
from rauskuclaw.config import load

TTL_MIN_SEC, TTL_MAX_SEC = 30, 1800


@dataclass(frozen=True)
class StreamToken:
    """A token just minted. job_id: the only job it opens; None is every stream its principal may follow."""

    text: str
    ttl_sec: int
    expires_at: datetime
    job_id: str | None

    def __repr__(self) -> str:
        return f"StreamToken(job_id={self.job_id!r}, expires_at={self.expires_at})"


def mint(principal: Principal, *, job_id: str | None) -> StreamToken:
    """A token with the rights of `principal`, good for `ttl_sec()` seconds and any number of uses."""
    issued_at = timezone.now().replace(microsecond=0)
    text = _signer().sign_object({"ref": principal.reference, "job": job_id})
    return StreamToken(text, ttl_sec(), issued_at + timedelta(seconds=ttl_sec()), job_id)


def redeem(token: str, *, job_id: str | None) -> Principal | None:
    """Who `token` speaks for on the stream of `job_id` (None: the stream of all jobs).

    None when it is forged, expired, limited to another job, or its credential is gone.
    """
    try:
        content = _signer().unsign_object(token, max_age=ttl_sec())
    except (BadSignature, ValueError):
        return None
    limited_to = content["job"]
    if limited_to is not None and (job_id is None or limited_to.lower() != job_id.lower()):
        return None
    principal = principal_for_reference(content["ref"])
    return replace(principal, source="token") if principal else None


def ttl_sec() -> int:
    """SSE_TOKEN_TTL_SEC, clamped to 30..1800."""
    return min(max(load().sse_token_ttl_sec, TTL_MIN_SEC), TTL_MAX_SEC)


def _signer() -> TimestampSigner:
    # "." instead of ":": the token needs no escaping in a query string.
    return TimestampSigner(salt="access.stream-token", sep=".")
