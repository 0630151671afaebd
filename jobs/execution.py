"""What a worker's pool process does with one attempt: claim, run the handler, end it. Nothing else decides."""

from __future__ import annotations

import os
import signal
import uuid
from types import FrameType

from jobs import attempts, processes
from jobs.attempts import Ending
from jobs.context import AttemptContext
from jobs.handlers.base import Cancelled, Interrupted, TimeLimit
from jobs.lifecycle import Claim
from jobs.log_buffer import LogBuffer
from jobs.slots import Slots, Why
from rauskuclaw.config import load

STOP_SIGNAL = signal.SIGUSR2
"""Sent by the agent: look into your slot, your attempt may have to stop. SIGUSR1 is Celery's own soft time limit."""


class _Running:
    """The attempt this process runs, and whether an interrupt may strike now: only inside the handler."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.open = False
        self.pending: type[Interrupted] | None = None
        self.context: AttemptContext | None = None


_running: _Running | None = None


def install_signal_handlers(slots: Slots) -> None:
    """In a pool process: time limit and stop raise inside the handler, as BaseExceptions it cannot swallow."""

    def look(_signum: int, _frame: FrameType | None) -> None:
        why = slots.told(_running.claim.id, _running.claim.fence) if _running is not None else None
        if why is not None:
            _interrupt(TimeLimit if why is Why.TIME_LIMIT else Cancelled)

    signal.signal(signal.SIGUSR1, lambda _signum, _frame: _interrupt(TimeLimit))
    signal.signal(STOP_SIGNAL, look)


def _interrupt(kind: type[Interrupted]) -> None:
    if _running is None:
        return
    if _running.context is not None:
        _running.context.stop_requested = True
    if _running.open:
        _running.open = False
        raise kind
    _running.pending = kind


def cookie(node: uuid.UUID | None, job_id: uuid.UUID, number: int) -> str:
    """What marks every process that an attempt starts (`processes.ATTEMPT_VARIABLE`)."""
    return f"{node}/{job_id}/{number}"


def run_attempt(
    job_id: uuid.UUID, fence: int, *, worker: str, node: uuid.UUID | None, slots: Slots | None = None
) -> None:
    """Claim the job at `fence`, run it, and end the attempt. Twice is safe: the second claim finds nothing.

    slots: where the worker's parent sees what this process runs. What ends without a word is lost when its lease ends.
    """
    slots = slots or Slots(1)
    slots.take(job_id, fence + 1)
    try:
        claim = attempts.claim(job_id, fence, worker=worker, node=node)
        if claim is not None:
            slots.take(job_id, claim.fence, timeout_sec=claim.timeout_sec)
            _run_claimed(claim, worker=worker, node=node, slots=slots)
    finally:
        slots.clear()


def _run_claimed(claim: Claim, *, worker: str, node: uuid.UUID | None, slots: Slots) -> None:
    attempts.refill(claim, slots=load().worker_concurrency)
    buffer = LogBuffer(claim.id, claim.fence)
    try:
        ending = _perform(claim, buffer, cookie=cookie(node, claim.id, claim.fence), slots=slots)
    except Cancelled:
        # The row is not ours any more: it was cancelled, or another worker holds it. Its lines went with it.
        buffer.close()
    else:
        # The time limit is the handler's: waiting for Postgres to take the result is not to be killed for it.
        slots.take(claim.id, claim.fence)
        lines = buffer.close()
        attempts.settle(claim, ending, lines, worker)
    finally:
        # What commands left in the background ends with the attempt, however it ended.
        processes.kill_descendants(os.getpid())
    if claim.takes_limit:
        attempts.make_room(claim)


def _perform(claim: Claim, buffer: LogBuffer, *, cookie: str, slots: Slots) -> Ending:
    """Run the handler. Every way to fail becomes an Ending; only `Cancelled` passes."""
    global _running  # noqa: PLW0603 - one attempt a process; the signal handlers have no other way to find it
    running = _running = _Running(claim)
    try:
        handler = attempts.handler_of(claim)
        context = AttemptContext(claim, attempts.parsed_input(claim, handler, buffer), buffer, cookie=cookie)
        context.workspace.mkdir(parents=True, exist_ok=True)
        running.context = context
        running.open = True
        if running.pending is not None:
            raise running.pending
        # A signal that came before `_running` was set met nobody, but its request is still there.
        if slots.told(claim.id, claim.fence) is Why.NOT_ITS_OWN:
            raise Cancelled
        try:
            output = handler.run(context)
        finally:
            running.open = False
        return attempts.succeeded(output)
    except Cancelled:
        raise
    except BaseException as error:
        return attempts.failed(claim, error)
    finally:
        running.open = False
        _running = None
