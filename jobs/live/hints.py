"""The doorbell's wire: one Redis channel, short texts, sent by whoever committed a change.

A thread sends: a job's own process waits for no answer, and what comes within `PAUSE_SEC` goes out together, once for
each job. A hint that dies with its process costs time, never a line: a poll finds the rows.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from rauskuclaw.redis import REDIS_ERRORS, client
from rauskuclaw.wire import KEY_PREFIX

CHANNEL = f"{KEY_PREFIX}hints"
PAUSE_SEC = 0.01
"""Between two sendings of one process. The first after silence goes at once."""
MAX_WAITING = 10_000
"""Deltas that may wait for a slow Redis; more are dropped, which their readers see by `seq`."""


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
    """Ring for jobs whose rows or log lines changed. Call it after the commit.

    Never raises and never waits: with Redis away, subscribers poll the rows.
    """
    _sender.add(ring=job_ids)


def announce_delta(job_id: UUID, text: str, *, seq: int | None = None) -> None:
    """Send a piece of streaming text to whoever follows the job right now; it is stored nowhere. Never raises.

    seq: 0, 1, 2, … within an attempt, so that a reader can tell when a piece was lost.
    """
    _sender.add(delta=f"delta {job_id.hex} {'-' if seq is None else seq} {text}")


class _Sender:
    """This process's hints on their way."""

    def __init__(self) -> None:
        self._rings: dict[UUID, None] = {}
        self._deltas: list[str] = []
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, *, ring: Iterable[UUID] = (), delta: str | None = None) -> None:
        """Hand over; the thread sends. The first call in a process starts it."""
        with self._lock:
            self._rings.update(dict.fromkeys(ring))
            if delta is not None and len(self._deltas) < MAX_WAITING:
                self._deltas.append(delta)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
        self._news.set()

    def send(self) -> None:
        """Send what waits. Deltas first: the line that ends a job must not overtake its text."""
        with self._lock:
            rings, self._rings = self._rings, {}
            hints, self._deltas = self._deltas, []
        if rings:
            hints.append("jobs " + " ".join(job_id.hex for job_id in rings))
        if not hints:
            return
        with suppress(*REDIS_ERRORS), client().pipeline(transaction=False) as pipe:
            for hint in hints:
                pipe.publish(CHANNEL, hint.encode("utf-8", "replace"))
            pipe.execute()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._news.wait()
            self._news.clear()
            self.send()
            pause.wait(PAUSE_SEC)


def _make_sender() -> None:
    """In each process its own: threads do not survive a fork, and the parent sends what was handed to it."""
    global _sender  # noqa: PLW0603 - one a process
    _sender = _Sender()


_sender = _Sender()
os.register_at_fork(after_in_child=_make_sender)


@atexit.register
def _send_the_rest() -> None:
    _sender.send()


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
