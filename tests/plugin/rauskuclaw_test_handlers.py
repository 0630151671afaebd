"""Handlers for tests and benchmarks of a running stack: installed by putting this folder on PYTHONPATH."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from jobs.handlers.base import Handler, JobContext, Needs


class Empty(BaseModel):
    """Nothing."""


class Noop(Handler[Empty, Empty]):
    """Does nothing: what is measured is everything else."""

    id = "test:noop"
    Input = Empty
    Output = Empty

    def run(self, ctx: JobContext[Empty]) -> Empty:
        """Return at once."""
        return Empty()


class LedgerInput(BaseModel):
    """path: the ledger file; sleep_sec: how long the work takes."""

    path: str
    sleep_sec: float = 0.0


class Ledger(Handler[LedgerInput, Empty]):
    """Notes (job, attempt, start or end) outside the database, so that a test can see what really ran."""

    id = "test:ledger"
    Input = LedgerInput
    Output = Empty
    needs = Needs(files=True)

    def run(self, ctx: JobContext[LedgerInput]) -> Empty:
        """Append two lines, with sleep between."""
        _append(ctx.input.path, f"{ctx.job_id} {ctx.attempt} start")
        ctx.log("working")
        time.sleep(ctx.input.sleep_sec)
        _append(ctx.input.path, f"{ctx.job_id} {ctx.attempt} end")
        return Empty()


class Stubborn(Handler[Empty, Empty]):
    """Ignores every interrupt: only the hard limit ends it. Spawns a child that does too."""

    id = "test:stubborn"
    Input = Empty
    Output = Empty

    def run(self, ctx: JobContext[Empty]) -> Empty:
        """Spin for ever."""
        os.posix_spawn("/bin/sleep", ["sleep", "987"], dict(os.environ), setsid=True)
        while True:
            try:
                time.sleep(60)
            except BaseException as error:
                ctx.log(f"ignoring {type(error).__name__}")


def _append(path: str, line: str) -> None:
    # One write of one line to a file opened for appending is atomic on a local file system (POSIX O_APPEND).
    fd = os.open(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
