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
from dataclasses import dataclass, replace
from uuid import UUID

from rauskuclaw.redis import REDIS_ERRORS, client
from rauskuclaw.wire import KEY_PREFIX

CHANNEL = f"{KEY_PREFIX}hints"
PAUSE_SEC = 0.01
"""Between two sendings of one process. The first after silence goes at once."""
MAX_WAITING_CHARS = 8_000_000
"""Streaming text that may wait for a slow Redis; what comes then is dropped, which its readers see by its offset."""
MAX_TEXT_BYTES = 1_048_576
"""Of one attempt's streaming text; what comes after it is not sent."""
TEXT_SEC = 3600
"""How long Redis keeps it after its last piece."""


@dataclass(frozen=True)
class Rings:
    """Something about these jobs was committed: read their rows."""

    job_ids: tuple[UUID, ...]


@dataclass(frozen=True)
class Delta:
    """A piece of streaming text, which no row holds. offset: where it belongs in the attempt's, in bytes of UTF-8."""

    job_id: UUID
    fence: int
    offset: int
    text: str

    @property
    def end(self) -> int:
        """Where the next piece belongs."""
        return self.offset + len(self.text.encode("utf-8", "replace"))


Hint = Rings | Delta


def announce(job_ids: Iterable[UUID]) -> None:
    """Ring for jobs whose rows or log lines changed. Call it after the commit.

    Never raises and never waits: with Redis away, subscribers poll the rows.
    """
    _sender.add(ring=job_ids)


def announce_delta(job_id: UUID, text: str, *, fence: int, offset: int) -> None:
    """Send a piece of an attempt's streaming text to whoever follows the job. Never raises.

    Redis keeps it for those who come late; no row holds it. The text of an attempt is valid UTF-8 without NUL.
    """
    _sender.add(delta=Delta(job_id, fence, offset, text))


def text_key(job_id: UUID, fence: int) -> str:
    """Where Redis keeps an attempt's streaming text."""
    return f"{KEY_PREFIX}text:{job_id.hex}:{fence}"


class _Sender:
    """This process's hints on their way."""

    def __init__(self) -> None:
        self._rings: dict[UUID, None] = {}
        self._deltas: list[Delta] = []
        self._waiting_chars = 0
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, *, ring: Iterable[UUID] = (), delta: Delta | None = None) -> None:
        """Hand over; the thread sends. The first call in a process starts it."""
        with self._lock:
            self._rings.update(dict.fromkeys(ring))
            if delta is not None and self._waiting_chars < MAX_WAITING_CHARS:
                self._deltas.append(delta)
                self._waiting_chars += len(delta.text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
        self._news.set()

    def send(self) -> None:
        """Send what waits. Deltas first: the line that ends a job must not overtake its text."""
        with self._lock:
            rings, self._rings = self._rings, {}
            deltas, self._deltas, self._waiting_chars = self._deltas, [], 0
        if not rings and not deltas:
            return
        with suppress(*REDIS_ERRORS), client().pipeline(transaction=False) as pipe:
            for delta in _joined(deltas):
                text, key = delta.text.encode("utf-8", "replace"), text_key(delta.job_id, delta.fence)
                pipe.setrange(key, delta.offset, text)
                pipe.expire(key, TEXT_SEC)
                head = f"delta {delta.job_id.hex} {delta.fence} {delta.offset} "
                pipe.publish(CHANNEL, head.encode() + text)
            if rings:
                pipe.publish(CHANNEL, "jobs " + " ".join(job_id.hex for job_id in rings))
            pipe.execute()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._news.wait()
            self._news.clear()
            self.send()
            pause.wait(PAUSE_SEC)


@dataclass
class _Run:
    """Pieces of one attempt that follow each other. end: where the next one belongs."""

    first: Delta
    texts: list[str]
    end: int


def _joined(deltas: Iterable[Delta]) -> Iterable[Delta]:
    """Pieces of one attempt that follow each other as one: a model may write a hundred in a second."""
    runs: list[_Run] = []
    last: dict[tuple[UUID, int], _Run] = {}
    for delta in deltas:
        run = last.get((delta.job_id, delta.fence))
        if run is not None and run.end == delta.offset:
            run.texts.append(delta.text)
            run.end = delta.end
        else:
            run = last[delta.job_id, delta.fence] = _Run(delta, [delta.text], delta.end)
            runs.append(run)
    return [replace(run.first, text="".join(run.texts)) for run in runs]


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
            job_id, fence, offset, text = rest.split(" ", 3)
            return Delta(UUID(hex=job_id), int(fence), int(offset), text)
    except ValueError:
        return None
    return None
