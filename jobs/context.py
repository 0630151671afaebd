"""What a handler sees of its attempt: the `JobContext` of jobs/handlers/base.py, and the buffer behind its log."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection
from pydantic import BaseModel

from jobs import lifecycle, live, processes
from jobs.handlers.base import Completed, Level
from jobs.lifecycle import Claim
from jobs.storable import log_line, text
from rauskuclaw.config import load

logger = logging.getLogger("jobs.context")

FLUSH_INTERVAL_SEC = 0.1
FLUSH_AT_LINES = 200
MAX_LINES = 10_000
"""Log lines one attempt may write; a handler in a loop must not fill the database."""


class LogBuffer:
    """Log lines and progress of one attempt, written in batches: at most 0.1 s after they came, by a thread of its own.

    The thread starts with the first line, so a silent job costs neither a thread nor a statement.
    """

    def __init__(self, job_id: uuid.UUID, fence: int) -> None:
        self._job_id, self._fence = job_id, fence
        self._lines: list[dict[str, Any]] = []
        self._count = 0
        self._progress: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

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
        self._start(now=full)

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Keep the newest progress for the next write."""
        with self._lock:
            self._progress = progress
        self._start()

    def close(self) -> list[dict[str, Any]]:
        """Stop the thread and return the lines not yet written: they travel with the attempt's last transition."""
        with self._lock:
            self._closed = True
        self._wake.set()
        with self._writing, self._lock:
            rest, self._lines = self._lines, []
            return rest

    def _start(self, *, now: bool = False) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="job-log", daemon=True)
            self._thread.start()
        if now:
            self._wake.set()

    def _run(self) -> None:
        try:
            while not self._closed:
                self._wake.wait(FLUSH_INTERVAL_SEC)
                self._wake.clear()
                self._write()
        finally:
            connection.close()

    def _write(self) -> None:
        with self._writing:
            with self._lock:
                if self._closed or not (self._lines or self._progress):
                    return
                lines, self._lines = self._lines, []
                progress, self._progress = self._progress, None
            try:
                lifecycle.append_attempt_logs(self._job_id, self._fence, lines, progress)
            except DatabaseError as error:
                logger.warning("log of job %s not written yet: %s", self._job_id, error)
                connection.close()
                with self._lock:
                    self._lines = lines + self._lines
                time.sleep(FLUSH_INTERVAL_SEC)


class AttemptContext:
    """The real `JobContext`."""

    def __init__(self, claim: Claim, parsed_input: BaseModel, buffer: LogBuffer, *, cookie: str) -> None:
        self.job_id = claim.id
        self.attempt = claim.attempts
        self.input: Any = parsed_input
        self.deadline = datetime.now(UTC) + timedelta(seconds=claim.timeout_sec)
        self.workspace: Path = load().workspace_root
        self.stop_requested = False
        self._ends_at = time.monotonic() + claim.timeout_sec
        self._buffer = buffer
        self._cookie = cookie

    def log(self, message: str, level: Level = "info", **meta: Any) -> None:
        """Append a log line; it is live within 0.2 s, 0.1 s of which it waits for others."""
        self._buffer.add(message, level, meta)

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is, 0..1; only the newest is kept."""
        self._buffer.set_progress(
            {"fraction": min(1.0, max(0.0, float(fraction))), "message": text(message, max_chars=500)}
        )

    def emit(self, delta: str) -> None:
        """Send streaming text to live subscribers; it is not stored."""
        live.announce_delta(self.job_id, delta)

    def remaining_sec(self) -> float:
        """Seconds to the deadline; never below 0."""
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was told to stop."""
        return self.stop_requested

    def run_process(
        self,
        argv: list[str],
        *,
        timeout_sec: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_chars: int = 256_000,
        live: bool = True,
    ) -> Completed:
        """Run a command that cannot outlive the attempt; see `JobContext.run_process`."""
        return processes.run(
            argv,
            cookie=self._cookie,
            timeout_sec=min(timeout_sec, max(0.001, self.remaining_sec())),
            env=env,
            cwd=cwd or self.workspace,
            max_chars=max_chars,
            on_line=(lambda stream, line: self.log(line, stream=stream)) if live else None,
        )
