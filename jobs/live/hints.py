"""The doorbell's wire: one Redis channel, short texts, sent by whoever committed a change."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from rauskuclaw.redis import REDIS_ERRORS, client
from rauskuclaw.wire import KEY_PREFIX

CHANNEL = f"{KEY_PREFIX}hints"


@dataclass(frozen=True)
class Rings:
    """Something about these jobs was committed: read their rows."""

    job_ids: tuple[UUID, ...]


@dataclass(frozen=True)
class Delta:
    """A piece of streaming text, which no row holds. seq: the sender's count, by which a reader sees a gap."""

    job_id: UUID
    seq: int | None
    text: str


Hint = Rings | Delta


def announce(job_ids: Iterable[UUID]) -> None:
    """Ring for jobs whose rows or log lines changed. Call it after the commit, once for all jobs of a batch.

    Never raises: with Redis away it returns at once, and subscribers poll the rows.
    """
    ids = " ".join(dict.fromkeys(job_id.hex for job_id in job_ids))
    if ids:
        _publish(f"jobs {ids}")


def announce_delta(job_id: UUID, text: str, *, seq: int | None = None) -> None:
    """Send a piece of streaming text to whoever follows the job right now; it is stored nowhere. Never raises.

    seq: 0, 1, 2, … within an attempt, so that a reader can tell when a piece was lost.
    """
    _publish(f"delta {job_id.hex} {'-' if seq is None else seq} {text}")


def _publish(hint: str) -> None:
    with suppress(*REDIS_ERRORS):  # the rows are committed, and a poll finds them
        client().publish(CHANNEL, hint.encode("utf-8", "replace"))


def parse(message: bytes) -> Hint | None:
    """The hint in a message of the channel; None if it is not one of ours."""
    kind, _, rest = message.decode("utf-8", "replace").partition(" ")
    try:
        if kind == "jobs":
            return Rings(tuple(UUID(hex=job_id) for job_id in rest.split(" ")))
        if kind == "delta":
            job_id, seq, text = rest.split(" ", 2)
            return Delta(UUID(hex=job_id), None if seq == "-" else int(seq), text)
    except ValueError:
        return None
    return None
