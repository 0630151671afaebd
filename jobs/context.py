"""What a handler sees of its attempt: the contexts of jobs/handlers/base.py."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel

from jobs import live, processes
from jobs.handlers.base import Child, ChildResult, Completed, Level, OnChildFailure, OnLine, Spawn
from jobs.log_buffer import LogBuffer
from jobs.storable import clean, text
from jobs.transitions import Claim
from rauskuclaw.config import load


class AsyncAttemptContext:
    """The real `AsyncJobContext`."""

    def __init__(self, claim: Claim, parsed_input: BaseModel, buffer: LogBuffer, *, cookie: str) -> None:
        self.job_id = claim.id
        self.cookie = cookie
        self.attempt = claim.attempts
        self.input: Any = parsed_input
        self.deadline = datetime.now(UTC) + timedelta(seconds=claim.timeout_sec)
        self.children: Sequence[ChildResult] = claim.children
        self.state = claim.state
        self.stop_requested = False
        self._ends_at = time.monotonic() + claim.timeout_sec
        self._buffer = buffer
        self._fence, self._emitted_bytes = claim.fence, 0

    @cached_property
    def workspace(self) -> Path:
        """The handlers' directory, made where it is missing: most short jobs never ask for it."""
        folder = load().workspace_root
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, message: str, level: Level = "info", **meta: Any) -> None:
        """Append a log line; it is live within 0.2 s, 0.1 s of which it waits for others."""
        self._buffer.add(message, level, meta)

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is, 0..1; only the newest is kept."""
        self._buffer.set_progress(
            {"fraction": min(1.0, max(0.0, float(fraction))), "message": text(message, max_chars=500)}
        )

    def emit(self, delta: str) -> None:
        """Send streaming text to live subscribers, late ones too; the job's rows do not hold it."""
        piece = clean(delta)
        size = len(piece.encode())
        if size and self._emitted_bytes + size <= live.MAX_TEXT_BYTES:
            live.announce_delta(self.job_id, piece, fence=self._fence, offset=self._emitted_bytes)
            self._emitted_bytes += size

    def spawn(self, children: Sequence[Child], *, on_failure: OnChildFailure = "fail", state: Any = None) -> NoReturn:
        """Make jobs and wait for them; see `JobContext.spawn`."""
        raise Spawn(children, on_failure, state)

    def remaining_sec(self) -> float:
        """Seconds to the deadline; never below 0."""
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was told to stop."""
        return self.stop_requested


class AttemptContext(AsyncAttemptContext):
    """The real `JobContext`."""

    def run_process(
        self,
        argv: list[str],
        *,
        timeout_sec: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_chars: int = 256_000,
        live: bool = True,
        on_line: OnLine | None = None,
    ) -> Completed:
        """Run a command that cannot outlive the attempt; see `JobContext.run_process`."""
        return processes.run(
            argv,
            cookie=self.cookie,
            timeout_sec=min(timeout_sec, max(0.001, self.remaining_sec())),
            env=env,
            cwd=cwd or self.workspace,
            max_chars=max_chars,
            on_line=on_line or ((lambda stream, line: self.log(line, stream=stream)) if live else None),
        )
