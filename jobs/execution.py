"""What a worker's pool process does with one attempt: claim, run the handler, end it. Nothing else decides."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection
from pydantic import BaseModel

from jobs import dispatch, lifecycle, processes
from jobs.context import AttemptContext, LogBuffer
from jobs.handlers import inputs, registry
from jobs.handlers.base import AttemptFailed, Cancelled, Interrupted, Level, Retry, TimeLimit
from jobs.handlers.inputs import InvalidInput
from jobs.lifecycle import Claim
from jobs.models import Outcome
from jobs.slots import Slots, Why
from jobs.storable import NotStorable
from rauskuclaw import errors
from rauskuclaw.config import load

logger = logging.getLogger("jobs.execution")

CLAIM_PATIENCE_SEC = 30.0
"""How long a claim waits for Postgres. After that the message is dropped and the reconciler publishes it again."""
FINISH_PATIENCE_SEC = 600.0
"""How long a finished attempt waits for Postgres to take its result. After that its lease decides."""
STOP_SIGNAL = signal.SIGUSR2
"""Sent by the agent: look into your slot, your attempt may have to stop. SIGUSR1 is Celery's own soft time limit."""

T = TypeVar("T")


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
class Ending:
    """How an attempt ended, before Postgres is told. code None with outcome SUCCEEDED."""

    outcome: Outcome
    result: Any = None
    code: str | None = None
    message: str = ""
    details: Any = None
    retry: bool = False
    retry_after_sec: float | None = None


def run_attempt(
    job_id: uuid.UUID, fence: int, *, worker: str, node: uuid.UUID | None, slots: Slots | None = None
) -> None:
    """Claim the job at `fence`, run it, and end the attempt. Twice is safe: the second claim finds nothing.

    slots: where the worker's parent sees what this process runs. What ends without a word is lost when its lease ends.
    """
    slots = slots or Slots(1)
    slots.take(job_id, fence + 1)
    try:
        claim = _with_patience(
            lambda: lifecycle.claim(job_id, fence, worker=worker, node=node, lease_sec=load().lease_sec),
            CLAIM_PATIENCE_SEC,
        )
        if claim is not None:
            slots.take(job_id, claim.fence, timeout_sec=claim.timeout_sec)
            _run_claimed(claim, worker=worker, node=node, slots=slots)
    finally:
        slots.clear()


def _run_claimed(claim: Claim, *, worker: str, node: uuid.UUID | None, slots: Slots) -> None:
    if claim.has_backlog and claim.left_in_window <= max(2, load().worker_concurrency):
        _with_patience(lambda: dispatch.fill(claim.queue, wait=False), CLAIM_PATIENCE_SEC)
    buffer = LogBuffer(claim.id, claim.fence)
    try:
        ending = _perform(claim, buffer, cookie=cookie(node, claim.id, claim.fence), slots=slots)
    except Cancelled:
        # The row is not ours any more: it was cancelled, or another worker holds it. Its lines went with it.
        buffer.close()
        return
    finally:
        # What commands left in the background ends with the attempt, however it ended.
        processes.kill_descendants(os.getpid())
    lines = buffer.close()
    _with_patience(lambda: _end(claim, ending, lines, worker), FINISH_PATIENCE_SEC)


def _perform(claim: Claim, buffer: LogBuffer, *, cookie: str, slots: Slots) -> Ending:
    """Run the handler. Every way to fail becomes an Ending; only `Cancelled` passes."""
    global _running  # noqa: PLW0603 - one attempt a process; the signal handlers have no other way to find it
    running = _running = _Running(claim)
    try:
        handler = _handler(claim)
        context = AttemptContext(claim, _parsed(claim, handler, buffer), buffer, cookie=cookie)
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
        return _succeeded(output)
    except Cancelled:
        raise
    except TimeLimit:
        limit = {"timeout_sec": claim.timeout_sec}
        return Ending(Outcome.TIMED_OUT, code=errors.JOB_TIMEOUT.name, message="timeout", details=limit, retry=True)
    except AttemptFailed as failure:
        after = failure.after_sec if isinstance(failure, Retry) else None
        return Ending(
            Outcome.FAILED, code=failure.code.name, message=failure.message, details=failure.details,
            retry=failure.retryable, retry_after_sec=after,
        )  # fmt: skip
    except BaseException as error:
        # The attempt's boundary: whatever a handler raises ends this attempt and not the worker.
        logger.exception("job %s (%s): handler %s raised", claim.id, claim.type, claim.handler)
        code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
        message = str(error) or type(error).__name__
        details = {"exception": type(error).__name__}
        return Ending(
            Outcome.FAILED, code=code or errors.HANDLER_ERROR.name, message=message, details=details, retry=True
        )
    finally:
        running.open = False
        _running = None


def _handler(claim: Claim) -> registry.AnyHandler:
    if claim.handler is None:
        raise AttemptFailed(errors.JOB_TYPE_UNKNOWN, f"Unknown job type {claim.type!r}: create it or mend the job")
    if not claim.enabled:
        raise AttemptFailed(
            errors.JOB_TYPE_DISABLED, f"job type {claim.type!r} is disabled; enable it in the job types"
        )
    handler = registry.get(claim.handler)
    if handler is None:
        raise AttemptFailed(
            errors.HANDLER_UNKNOWN, f"Unknown handler {claim.handler!r}: no installed package brings it"
        )
    return handler


def _parsed(claim: Claim, handler: registry.AnyHandler, buffer: LogBuffer) -> BaseModel:
    try:
        return inputs.parse(handler, claim.input)
    except InvalidInput as error:

        def log(message: str, level: Level = "info", **meta: Any) -> None:
            buffer.add(message, level, meta)

        raise handler.on_invalid_input(log, str(error)) from None


def _succeeded(output: Any) -> Ending:
    result = output.model_dump(mode="json") if isinstance(output, BaseModel) else output
    return Ending(Outcome.SUCCEEDED, result=result)


def _end(claim: Claim, ending: Ending, lines: list[dict[str, Any]], worker: str) -> None:
    if ending.outcome == Outcome.SUCCEEDED:
        try:
            accepted = lifecycle.succeed(claim.id, claim.fence, result=ending.result, lines=lines)
        except NotStorable as error:
            unusable = Ending(
                Outcome.FAILED, code=errors.RESULT_INVALID.name, message=f"the result cannot be stored: {error}"
            )
            _end(claim, unusable, lines, worker)
            return
    else:
        wait = claim.retry.wait_sec(claim.attempts) if ending.retry_after_sec is None else ending.retry_after_sec
        accepted = lifecycle.fail(
            claim.id, claim.fence, code=ending.code, message=ending.message, details=ending.details, retry=ending.retry,
            retry_in_sec=wait, handler=claim.handler or "", outcome=ending.outcome, lines=lines,
        )  # fmt: skip
    if not accepted:
        meta = {"attempt": claim.fence, "worker": worker, "outcome": ending.outcome}
        lifecycle.append_logs(claim.id, [("warn", "Stale attempt ignored", meta)])


def _with_patience(step: Callable[[], T], patience_sec: float) -> T | None:
    """Do a step that needs Postgres; while it is away, wait and try again. None when the patience ran out."""
    give_up_at = time.monotonic() + patience_sec
    wait = 0.1
    while True:
        try:
            return step()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() + wait > give_up_at:
                logger.error("gave up after %.0f s without the database: %s", patience_sec, error)
                return None
            logger.warning("the database is away, trying again in %.1f s: %s", wait, error)
            time.sleep(wait)
            wait = min(2.0, wait * 2)
