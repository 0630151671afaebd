"""What a worker's pool process does with one attempt: claim, run the handler, end it. Nothing else decides."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from jobs import attempts, processes
from jobs.attempts import Ending
from jobs.context import AttemptContext
from jobs.handlers.base import Cancelled, Interrupted, TimeLimit
from jobs.log_buffer import LogBuffer
from jobs.slots import Slots, Why
from jobs.transitions import Claim, Claimable
from rauskuclaw import logs, tracing
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


@dataclass(frozen=True)
class _Done:
    """An attempt that has run, and what Postgres is to be told of its end. ending None: nothing, it is nobody's."""

    claim: Claim
    ending: Ending | None
    lines: list[dict[str, Any]]


def run_attempts(wanted: Iterable[Claimable], *, slots: Slots | None = None) -> None:
    """Claim an attempt, run it, end it; then the next. Twice is safe: the second claim finds nothing.

    wanted: asked for the next one when the handler has returned, so that its claim can go with the end in one
    transaction. slots: where the worker's parent sees what this process runs. What ends without a word is lost when its
    lease ends.
    """
    slots = slots or Slots(1)
    done: _Done | None = None
    try:
        for it in wanted:
            since_ns = tracing.now_ns()
            claim = _claim(it, slots) if done is None else _turn_over(done, it, slots)
            done = None if claim is None else _run(claim, it, slots, since_ns)
            worker = it.worker
        if done is not None:
            _settle(done, worker)
    finally:
        slots.clear()
        logs.unbind()


def _claim(wanted: Claimable, slots: Slots) -> Claim | None:
    slots.take(wanted.id, wanted.fence + 1)
    return attempts.claim(wanted)


def _turn_over(done: _Done, wanted: Claimable, slots: Slots) -> Claim | None:
    if done.ending is not None:
        # Before the claim: a cancel that comes right after it must find the attempt. This one's end is on its way.
        slots.take(wanted.id, wanted.fence + 1)
        turned, claim = attempts.turn_over(done.claim, done.ending, done.lines, wanted)
        if turned:
            attempts.make_room(done.claim)
            return claim
        slots.take(done.claim.id, done.claim.fence)
    _settle(done, wanted.worker)
    return _claim(wanted, slots)


def _settle(done: _Done, worker: str) -> None:
    if done.ending is not None:
        attempts.settle(done.claim, done.ending, done.lines, worker)
    attempts.make_room(done.claim)


def _run(claim: Claim, wanted: Claimable, slots: Slots, since_ns: int) -> _Done:
    logs.bind_attempt(job=str(claim.id), attempt=claim.fence, queue=claim.queue, worker=wanted.worker)
    slots.take(claim.id, claim.fence, timeout_sec=claim.timeout_sec)
    attempts.refill(claim, slots=load().worker_concurrency)
    buffer = LogBuffer(claim.id, claim.fence)
    ending: Ending | None = None
    try:
        with attempts.traced(claim, wanted.worker, since_ns) as span:
            ending = _perform(claim, buffer, cookie=cookie(wanted.node, claim.id, claim.fence), slots=slots)
            tracing.note(span, error=ending.message, outcome=ending.outcome.value)
    except Cancelled:
        # The row is not ours any more: it was cancelled, or another worker holds it. Its lines went with it.
        buffer.close()
    finally:
        # The time limit is the handler's: waiting for Postgres to take the result is not to be killed for it.
        slots.take(claim.id, claim.fence)
        # What commands left in the background ends with the attempt, however it ended.
        processes.kill_descendants(os.getpid())
    return _Done(claim, ending, [] if ending is None else buffer.close())


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
