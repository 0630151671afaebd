"""What a worker's pool process does with an attempt: claim, run the handler, end it. Nothing else decides."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterable, Sequence
from types import FrameType

from jobs import attempts, bundle, processes
from jobs.attempts import Done, Ending
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


def run_attempts(messages: Iterable[Sequence[Claimable]], *, slots: Slots | None = None) -> None:
    """Claim the attempts of a message, run them one after the other, end them; then the next message.

    Twice is safe: the second claim finds nothing.

    messages: asked for the next one when the handlers have returned, so that its claim can go with the ends in one
    transaction. slots: where the worker's parent sees what this process runs. What ends without a word is lost when its
    lease ends.
    """
    slots = slots or Slots(1)
    done: list[Done] = []
    worker = ""
    try:
        for wanted in messages:
            since, since_ns = time.monotonic(), tracing.now_ns()
            claims = _turn_over(done, wanted, slots) if done else _claim(wanted, slots)
            worker = wanted[0].worker
            done = _run_all(claims, wanted[0], slots, since, since_ns)
        _settle(done, worker)
    finally:
        slots.clear()
        logs.unbind()


def _claim(wanted: Sequence[Claimable], slots: Slots) -> list[Claim]:
    slots.take_all([(it.id, it.fence + 1) for it in wanted])
    return _had(attempts.claim_all(wanted), wanted, slots)


def _had(claims: list[Claim], wanted: Sequence[Claimable], slots: Slots) -> list[Claim]:
    """What was not to be had is somebody else's, and not this process's to lose."""
    if len(claims) < len(wanted):
        slots.take_all([(claim.id, claim.fence) for claim in claims])
    return claims


def _turn_over(done: Sequence[Done], wanted: Sequence[Claimable], slots: Slots) -> list[Claim]:
    # Before the claim: a cancel that comes right after it must find the attempt. The ends are on their way.
    slots.take_all([(it.id, it.fence + 1) for it in wanted])
    claims = attempts.turn_over(done, wanted)
    if claims is not None:
        attempts.make_room(it.claim for it in done)
        return _had(claims, wanted, slots)
    slots.take_all([(it.claim.id, it.claim.fence) for it in done])
    slots.take(done[-1].claim.id, done[-1].claim.fence)
    _settle(done, wanted[0].worker)
    return _claim(wanted, slots)


def _settle(done: Sequence[Done], worker: str) -> None:
    if done:
        attempts.settle(done, worker)
        attempts.make_room(it.claim for it in done)


def _run_all(claims: Sequence[Claim], wanted: Claimable, slots: Slots, since: float, since_ns: int) -> list[Done]:
    """Returns what is still to be told."""
    if not claims:
        return []
    attempts.refill(claims[0], slots=load().worker_concurrency)
    with bundle.running(claims, wanted.worker, since=since) as together:
        while (claim := together.next()) is not None:
            if (done := _run(claim, wanted, slots, since_ns)) is not None:
                together.ended(done)
        return together.take_done()


def _run(claim: Claim, wanted: Claimable, slots: Slots, since_ns: int) -> Done | None:
    """None: it is nobody's any more, and there is nothing to tell."""
    logs.bind_attempt(job=str(claim.id), attempt=claim.fence, queue=claim.queue, worker=wanted.worker)
    slots.take(claim.id, claim.fence, timeout_sec=claim.timeout_sec)
    buffer, began_at = LogBuffer(claim.id, claim.fence), time.monotonic()
    try:
        with attempts.traced(claim, wanted.worker, since_ns) as span:
            ending = _perform(claim, buffer, cookie=cookie(wanted.node, claim.id, claim.fence), slots=slots)
            tracing.note(span, error=ending.message, outcome=ending.outcome.value)
    except Cancelled:
        # The row is not ours any more: it was cancelled, or another worker holds it. Its lines went with it.
        buffer.close()
        attempts.make_room([claim])
        return None
    finally:
        # The time limit is the handler's: waiting for Postgres to take the result is not to be killed for it.
        slots.take(claim.id, claim.fence)
        # What commands left in the background ends with the attempt, however it ended.
        processes.kill_descendants(os.getpid())
    return Done(claim, ending, buffer.close(), round((time.monotonic() - began_at) * 1000))


def _perform(claim: Claim, buffer: LogBuffer, *, cookie: str, slots: Slots) -> Ending:
    """Run the handler. Every way to fail becomes an Ending; only `Cancelled` passes."""
    global _running  # noqa: PLW0603 - one attempt a process; the signal handlers have no other way to find it
    running = _running = _Running(claim)
    try:
        handler = attempts.handler_of(claim)
        context = AttemptContext(claim, attempts.parsed_input(claim, handler, buffer), buffer, cookie=cookie)
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
