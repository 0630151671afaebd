"""Handlers for tests and benchmarks of a running stack: installed by putting this folder on PYTHONPATH."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.handlers.base import AsyncHandler, AsyncJobContext, Child, Handler, JobContext, Needs, Retry
from tests.bench.marks import mark


class Empty(BaseModel):
    """Nothing."""


class Noop(Handler[Empty, Empty]):
    """Does nothing: what is measured is everything else."""

    id = "test:noop"
    short = True
    Input = Empty
    Output = Empty

    def run(self, ctx: JobContext[Empty]) -> Empty:
        """Return at once."""
        return Empty()


class Mark(Handler[Empty, Empty]):
    """A no-op that notes when it started, for the benchmarks."""

    id = "test:mark"
    short = True
    Input = Empty
    Output = Empty

    def run(self, ctx: JobContext[Empty]) -> Empty:
        """Leave a mark."""
        mark()
        return Empty()


class TickerInput(BaseModel):
    """lines: how many. interval_sec: from one to the next. go: the file whose appearance starts it."""

    lines: int
    interval_sec: float
    go: str


class Ticker(Handler[TickerInput, Empty]):
    """Logs lines at a steady pace; each says when it was logged (monotonic ns)."""

    id = "test:ticker"
    Input = TickerInput
    Output = Empty

    def run(self, ctx: JobContext[TickerInput]) -> Empty:
        """Wait for the sign, then log."""
        while not Path(ctx.input.go).exists():
            time.sleep(0.01)
        due = time.monotonic()
        for _ in range(ctx.input.lines):
            time.sleep(max(0.0, due - time.monotonic()))
            ctx.log(str(time.monotonic_ns()))
            due += ctx.input.interval_sec
        return Empty()


class SleepInput(BaseModel):
    """sleep_sec: how long."""

    sleep_sec: float


class Sleep(Handler[SleepInput, Empty]):
    """Sleeps, with a line before it."""

    id = "test:sleep"
    Input = SleepInput
    Output = Empty

    def run(self, ctx: JobContext[SleepInput]) -> Empty:
        """Sleep."""
        ctx.log("sleeping")
        time.sleep(ctx.input.sleep_sec)
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


class ShortLedger(Ledger):
    """The same, and short."""

    id = "test:short-ledger"
    short = True


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


class ChaosInput(BaseModel):
    """What a job of the chaos run does, in this order; `depends_on` is for the server alone."""

    ledger: str
    lines: int = 0
    """Log lines it writes, evenly over its sleep."""
    sleep_sec: float = 0.0
    fail_first: int = 0
    """So many attempts fail, by their ordinal."""
    children: int = 0
    """Processes it starts, in sessions of their own, and leaves behind."""
    child_mark: str = "86400"
    """Their command is `sleep` and this."""
    stubborn: bool = False
    """Ignores every interrupt: only the hard limit ends it."""
    depends_on: list[str] = []


class ChaosOutput(BaseModel):
    """attempt: which one made this result."""

    attempt: int


class Chaos(Handler[ChaosInput, ChaosOutput]):
    """Every kind of job that the chaos run submits, with its steps noted outside the database."""

    id = "test:chaos"
    Input = ChaosInput
    Output = ChaosOutput
    needs = Needs(files=True, shell=True)

    def run(self, ctx: JobContext[ChaosInput]) -> ChaosOutput:
        """Note the start, do what the input says, note the end."""
        wanted = ctx.input
        _append(wanted.ledger, f"{ctx.job_id} {ctx.attempt} start")
        for _ in range(wanted.children):
            os.posix_spawn("/bin/sleep", ["sleep", wanted.child_mark], {}, setsid=True)
        while wanted.stubborn:
            try:
                time.sleep(60)
            except BaseException as error:
                ctx.log(f"ignoring {type(error).__name__}")
        for number in range(wanted.lines):
            time.sleep(wanted.sleep_sec / wanted.lines)
            ctx.log(f"line {number}")
            ctx.progress(number / wanted.lines)
        if not wanted.lines:
            time.sleep(wanted.sleep_sec)
        if ctx.attempt <= wanted.fail_first:
            raise Retry(f"attempt {ctx.attempt} was told to fail")
        _append(wanted.ledger, f"{ctx.job_id} {ctx.attempt} end")
        return ChaosOutput(attempt=ctx.attempt)


class ChaosShort(Chaos):
    """The same, and it says that it returns at once: which is not always true."""

    id = "test:chaos-short"
    short = True


class ChaosWaitingInput(BaseModel):
    """As ChaosInput."""

    ledger: str
    lines: int = 0
    sleep_sec: float = 0.0
    fail_first: int = 0


class ChaosWaiting(AsyncHandler[ChaosWaitingInput, ChaosOutput]):
    """What the chaos run submits for I/O workers."""

    id = "test:chaos-waiting"
    Input = ChaosWaitingInput
    Output = ChaosOutput
    needs = Needs(files=True)

    async def arun(self, ctx: AsyncJobContext[ChaosWaitingInput]) -> ChaosOutput:
        """Note the start, wait and log, note the end."""
        wanted = ctx.input
        _append(wanted.ledger, f"{ctx.job_id} {ctx.attempt} start")
        for number in range(wanted.lines):
            await asyncio.sleep(wanted.sleep_sec / wanted.lines)
            ctx.log(f"line {number}")
        if not wanted.lines:
            await asyncio.sleep(wanted.sleep_sec)
        if ctx.attempt <= wanted.fail_first:
            raise Retry(f"attempt {ctx.attempt} was told to fail")
        _append(wanted.ledger, f"{ctx.job_id} {ctx.attempt} end")
        return ChaosOutput(attempt=ctx.attempt)


class PlannedChild(BaseModel):
    """A child of a chaos run's parent: its type, its input but for the ledger, its attempts."""

    type: str
    input: dict[str, Any]
    max_attempts: int


class ChaosParentInput(BaseModel):
    """phases: the children it makes, and waits for, one phase after another. tag: the children's."""

    ledger: str
    phases: list[list[PlannedChild]]
    collect: bool
    """Whether it goes on when a child has failed."""
    tag: str


class ChaosParentOutput(BaseModel):
    """came: of each phase what its children came to, as `[name, job, status, attempt of the result]`."""

    attempt: int
    came: list[list[tuple[str, str, str, int | None]]]


class ChaosParent(Handler[ChaosParentInput, ChaosParentOutput]):
    """A job of the chaos run that makes jobs and waits for them."""

    id = "test:chaos-parent"
    Input = ChaosParentInput
    Output = ChaosParentOutput
    needs = Needs(files=True)

    def run(self, ctx: JobContext[ChaosParentInput]) -> ChaosParentOutput:
        """Take in what the last children came to; make the next, or say what all of them came to."""
        wanted = ctx.input
        came = list(ctx.state or [])
        if ctx.children:
            came.append([(it.name, str(it.job_id), it.status, (it.result or {}).get("attempt")) for it in ctx.children])
        _append(wanted.ledger, f"{ctx.job_id} {ctx.attempt} phase-{len(came)}")
        if len(came) < len(wanted.phases):
            ctx.spawn(
                [
                    Child(
                        type=child.type, input={"ledger": wanted.ledger, **child.input}, name=str(number),
                        max_attempts=child.max_attempts, timeout_sec=30, tags=[wanted.tag],
                    )
                    for number, child in enumerate(wanted.phases[len(came)])
                ],
                on_failure="collect" if wanted.collect else "fail",
                state=came,
            )  # fmt: skip
        _append(wanted.ledger, f"{ctx.job_id} {ctx.attempt} end")
        return ChaosParentOutput(attempt=ctx.attempt, came=came)


class FanInput(BaseModel):
    """children: how many jobs it makes, 0 for one of those; number: which one it is; ledger, sleep_sec: as Ledger's."""

    ledger: str
    children: int = 0
    number: int = 0
    sleep_sec: float = 0.0


class FanOutput(BaseModel):
    """The square of the number, or the sum of the children's."""

    total: int


class Fan(Handler[FanInput, FanOutput]):
    """Adds up squares: a job each."""

    id = "test:fan"
    Input = FanInput
    Output = FanOutput
    needs = Needs(files=True)

    def run(self, ctx: JobContext[FanInput]) -> FanOutput:
        """Make the jobs, or be one of them, or add up."""
        given = ctx.input
        if not given.children:
            _append(given.ledger, f"{ctx.job_id} {ctx.attempt} start")
            time.sleep(given.sleep_sec)
            return FanOutput(total=given.number**2)
        if not ctx.children:
            shares = [given.model_copy(update={"children": 0, "number": n}) for n in range(given.children)]
            ctx.spawn([Child(type="test.fan", input=share, name=str(share.number), max_attempts=5) for share in shares])
        return FanOutput(total=sum(child.result["total"] for child in ctx.children))


class AsyncLedger(AsyncHandler[LedgerInput, Empty]):
    """`Ledger` for an I/O worker."""

    id = "test:async-ledger"
    Input = LedgerInput
    Output = Empty
    needs = Needs(files=True)

    async def arun(self, ctx: AsyncJobContext[LedgerInput]) -> Empty:
        """Append two lines, with sleep between."""
        _append(ctx.input.path, f"{ctx.job_id} {ctx.attempt} start")
        ctx.log("working")
        await asyncio.sleep(ctx.input.sleep_sec)
        _append(ctx.input.path, f"{ctx.job_id} {ctx.attempt} end")
        return Empty()


class Deaf(AsyncHandler[Empty, Empty]):
    """Ignores every cancel."""

    id = "test:deaf"
    Input = Empty
    Output = Empty

    async def arun(self, ctx: AsyncJobContext[Empty]) -> Empty:
        """Sleep for ever."""
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ctx.log("ignoring it")


class Blocking(AsyncHandler[Empty, Empty]):
    """Blocks the event loop, as no handler may."""

    id = "test:blocking"
    Input = Empty
    Output = Empty

    async def arun(self, ctx: AsyncJobContext[Empty]) -> Empty:
        """Sleep for an hour, and with it everybody else."""
        time.sleep(3600)
        return Empty()


def _append(path: str, line: str) -> None:
    # One write of one line to a file opened for appending is atomic on a local file system (POSIX O_APPEND).
    fd = os.open(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
