"""Attempts that came in one message, while a pool process runs them one after the other.

They are short by what their handlers say. Where one is not, those before it must not wait to be told, nor those behind
it to be run: a thread tells the former and gives the latter back. It sleeps unless there is a bundle, and connects to
Postgres only when it has something to do there.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connection

from jobs import attempts, lifecycle
from jobs.attempts import Done
from jobs.transitions import Claim
from rauskuclaw.config import load

logger = logging.getLogger("jobs.bundle")

PATIENCE_SEC = 0.25
"""How long a bundle may take until it is taken apart."""
NOT_SHORT = "a job before it in its message takes longer than a short one"
LOOK_SEC = 0.05
"""From one look of the watch to the next. Waking it for each bundle would cost more than most bundles take."""
IDLE_SEC = 1.0


class Bundle:
    """Claimed attempts. `next` and `ended` are for the thread that runs them, `take_apart` is for the other one."""

    def __init__(self, claims: Sequence[Claim], worker: str, *, since: float) -> None:
        self._worker = worker
        self._pending, self._done = deque(claims), list[Done]()
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._first = claims[0]
        self.due_at = time.monotonic() + PATIENCE_SEC
        self._begin_until = min(self.due_at, since + load().lease_sec / 2)

    def next(self) -> Claim | None:
        """The next one to run.

        None: there is none, or it is time to take the bundle apart. If this process stood still for long, somebody else
        may hold them by now: the agent keeps only the lease of what runs, and so that of the first.
        """
        with self._lock:
            if not self._pending:
                return None
            is_ours = self._pending[0] is self._first or time.monotonic() < self._begin_until
            return self._pending.popleft() if is_ours else None

    def ended(self, done: Done) -> None:
        """One has run."""
        with self._lock:
            self._done.append(done)

    def take_done(self) -> list[Done]:
        """Those that have run and are still to be told."""
        with self._lock:
            done, self._done = self._done, []
            return done

    def take_apart(self) -> None:
        """Give back what has not begun, and tell the ends that there are. What runs now goes on.

        Returns when that is done, whoever of the two threads does it.
        """
        with self._telling:
            with self._lock:
                pending, self._pending = self._pending, deque()
            try:
                if pending:
                    keys = [(claim.id, claim.fence) for claim in pending]
                    attempts.with_patience(
                        lambda: lifecycle.give_back(keys, reason=NOT_SHORT), attempts.CLAIM_PATIENCE_SEC
                    )
            finally:
                if done := self.take_done():
                    attempts.settle(done, self._worker)
                    attempts.make_room(it.claim for it in done)


class _Watch:
    """This process's thread that takes bundles apart; the first one starts it."""

    def __init__(self) -> None:
        self._bundle: Bundle | None = None
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def set(self, bundle: Bundle | None) -> None:
        self._bundle = bundle
        if bundle is not None and not self._news.is_set():
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="job-bundles", daemon=True)
                self._thread.start()
            self._news.set()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            self._news.wait()
            time.sleep(LOOK_SEC)
            bundle, now = self._bundle, time.monotonic()
            if bundle is not None:
                idle_since = now
                if now >= bundle.due_at:
                    self._take_apart(bundle)
            elif now - idle_since > IDLE_SEC:
                self._news.clear()
                if self._bundle is not None:
                    self._news.set()  # it came just now, and found no need to wake anybody
                else:
                    connection.close()

    def _take_apart(self, bundle: Bundle) -> None:
        try:
            bundle.take_apart()
        except Exception:
            # What it was to tell or to give back is settled by its lease; the thread must see the next bundle.
            logger.exception("a bundle could not be taken apart")
            connection.close()


@contextmanager
def running(claims: Sequence[Claim], worker: str, *, since: float) -> Iterator[Bundle]:
    """A bundle of these, watched for the length of the block if there is more than one.

    since: before they were claimed, monotonic. What the block leaves in the bundle is told or given back.
    """
    bundle = Bundle(claims, worker, since=since)
    if len(claims) > 1:
        _watch.set(bundle)
    try:
        yield bundle
    finally:
        if len(claims) > 1:
            _watch.set(None)
        bundle.take_apart()


def _make_watch() -> None:
    """In each process its own: threads do not survive a fork."""
    global _watch  # noqa: PLW0603 - one a process
    _watch = _Watch()


_watch = _Watch()
os.register_at_fork(after_in_child=_make_watch)
