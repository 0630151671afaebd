"""What attempts log and how far they say they are, on its way to Postgres: buffered, and written in batches.

One thread a process writes for all attempts that run in it, so their number costs neither threads nor connections.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection

from jobs import lifecycle
from jobs.handlers.base import Level
from jobs.storable import log_line

logger = logging.getLogger("jobs.log_buffer")

FLUSH_INTERVAL_SEC = 0.1
FLUSH_AT_LINES = 200
MAX_LINES = 10_000
"""Log lines one attempt may write; a handler in a loop must not fill the database."""
IDLE_SEC = 1.0
"""A writer without work for so long closes its connection."""


class LogBuffer:
    """Log lines and progress of one attempt, written at most 0.1 s after they came. A silent job costs nothing."""

    def __init__(self, job_id: uuid.UUID, fence: int) -> None:
        self._job_id, self._fence = job_id, fence
        self._lines: list[dict[str, Any]] = []
        self._count = 0
        self._progress: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False

    def add(self, message: str, level: Level, meta: Mapping[str, Any]) -> None:
        """Buffer a line. Lines past the limit are dropped, with one line that says so."""
        with self._lock:
            self._count += 1
            if self._count > MAX_LINES:
                return
            if self._count == MAX_LINES:
                message, level, meta = f"More than {MAX_LINES} log lines: the rest is left out", "warn", {}
            self._lines.append(log_line(self._count, message, level, dict(meta) or None, datetime.now(UTC)))
            full = len(self._lines) >= FLUSH_AT_LINES
        _writer.note(self, now=full)

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Keep the newest progress for the next write."""
        with self._lock:
            self._progress = progress
        _writer.note(self)

    def close(self) -> list[dict[str, Any]]:
        """Write no more, and return the lines not yet written: they travel with the attempt's last transition.

        May wait for a write that is under way.
        """
        with self._lock:
            self._closed = True
        with self._writing, self._lock:
            rest, self._lines = self._lines, []
            return rest

    def write(self) -> bool:
        """Write what is there. False if Postgres did not take it: it is kept."""
        with self._writing:
            with self._lock:
                if self._closed or not (self._lines or self._progress):
                    return True
                lines, self._lines = self._lines, []
                progress, self._progress = self._progress, None
            try:
                lifecycle.append_attempt_logs(self._job_id, self._fence, lines, progress)
            except DatabaseError as error:
                logger.warning("log of job %s not written yet: %s", self._job_id, error)
                with self._lock:
                    self._lines = lines + self._lines
                    self._progress = self._progress or progress
                return False
            return True


class _Writer:
    """This process's thread that writes; the first line starts it."""

    def __init__(self) -> None:
        self._waiting: dict[LogBuffer, None] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, buffer: LogBuffer, *, now: bool = False) -> None:
        """There is something in `buffer`. now: it is much."""
        with self._lock:
            self._waiting[buffer] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="job-logs", daemon=True)
                self._thread.start()
        self._news.set()
        if now:
            self._hurry.set()

    def _run(self) -> None:
        while True:
            if not self._news.wait(IDLE_SEC):
                connection.close()
                self._news.wait()
            self._hurry.wait(FLUSH_INTERVAL_SEC)
            self._hurry.clear()
            self._news.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for buffer in waiting:
                if not buffer.write():
                    connection.close()
                    self.note(buffer)


def _make_writer() -> None:
    """In each process its own: threads do not survive a fork."""
    global _writer  # noqa: PLW0603 - one a process
    _writer = _Writer()


_writer = _Writer()
os.register_at_fork(after_in_child=_make_writer)
