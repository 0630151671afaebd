"""What a handler is: a class with a typed input, a typed output and a `run`. docs/handlers.md shows one in 30 lines."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NoReturn, Protocol, TypeVar

from pydantic import BaseModel

from rauskuclaw import errors

InputT = TypeVar("InputT", bound=BaseModel)
OutputT = TypeVar("OutputT", bound=BaseModel)
Level = Literal["debug", "info", "warn", "error"]
PoolName = Literal["process", "io"]
"""Where a handler runs: in a process of its own, or as one of many coroutines in the event loop of an I/O worker."""


class Needs(BaseModel, frozen=True):
    """What a handler reaches beyond its own computation. Shown to operators; each is off or allowlisted by default."""

    network: bool = False
    shell: bool = False
    files: bool = False


class AttemptFailed(Exception):
    """The attempt failed in a way the handler can name. Whether it is retried follows from the code.

    retryable: overrides the code's own answer.
    details: JSON object stored with the error; no secrets.
    """

    def __init__(
        self,
        code: errors.Code,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        retryable: bool | None = None,
    ) -> None:
        self.code, self.message = code, message
        self.details = dict(details) if details is not None else None
        self.retryable = bool(code.retryable) if retryable is None else retryable
        super().__init__(message)


class Retry(AttemptFailed):
    """The handler asks for another attempt, not before `after_sec` from now (None: by the type's policy)."""

    def __init__(
        self, message: str, *, after_sec: float | None = None, code: errors.Code = errors.UPSTREAM_ERROR
    ) -> None:
        super().__init__(code, message, retryable=True)
        self.after_sec = after_sec


@dataclass(frozen=True)
class Completed:
    """How a command ended: exit code, what is kept of its output, duration in milliseconds."""

    returncode: int
    """Negative: the number of the signal that killed it."""
    stdout: str
    stderr: str
    duration_ms: int
    timed_out: bool = False
    truncated: bool = False
    """Whether there was more output than is kept."""
    stdout_tail: str = ""
    """The last 4,000 characters, also of output that is not kept; errors stand at the end."""
    stderr_tail: str = ""


class AsyncJobContext(Protocol[InputT]):
    """All that an `AsyncHandler` may touch: nothing global. Nothing here waits, so nothing needs an `await`."""

    job_id: uuid.UUID
    attempt: int
    """1 for the first attempt, at most max_attempts."""
    input: InputT
    deadline: datetime
    """When the soft time limit raises `TimeLimit` in the handler; aware, UTC."""
    workspace: Path
    """The handlers' working directory; it exists."""

    def log(self, message: str, level: Level = "info", **meta: Any) -> None:
        """Append a log line; it is live within 0.2 s. meta: small JSON values, no secrets."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is: fraction in 0..1. Live; only the newest is kept."""

    def emit(self, text: str) -> None:
        """Send a piece of streaming text to live subscribers. It is not stored."""

    def remaining_sec(self) -> float:
        """Seconds to the deadline; never below 0."""

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled. Handlers are also interrupted, so only long pure-C calls need to ask."""


class JobContext(AsyncJobContext[InputT], Protocol[InputT]):
    """All that a `Handler` may touch."""

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
        """Run a command (argv, never a shell) in a process group of its own, with a scrubbed environment.

        Everything it starts dies with the attempt: at its end, timeout, cancel, or when the worker dies.
        live: each output line goes to the job's log while the command runs.
        max_chars: of stdout and stderr each, what is kept (the beginning).
        env: variables on top of PATH, HOME, LANG and TMPDIR. Raises OSError if the command cannot be started.
        """


class Handler(ABC, Generic[InputT, OutputT]):
    """One way to do a kind of work. Subclass it, name `id`, `Input`, `Output`, and write `run`.

    Instances are made once a process and must hold no state of a job. Register a class by the entry-point group
    `rauskuclaw.handlers`, or, inside this project, in the app's `handlers.py`.
    """

    id: ClassVar[str]
    """Stable id, `<package>:<name>`."""
    Input: type[InputT]
    Output: type[OutputT]
    pool: ClassVar[PoolName] = "process"
    needs: ClassVar[Needs] = Needs()
    checks_input_at_creation: ClassVar[bool] = True
    """Whether bad input is a 400 at creation. If not, it fails in the worker, with INPUT_INVALID."""
    reaches_all_queues: ClassVar[bool] = False
    """Whether its input can make it touch jobs of any queue: keys with a queue allowlist may not make such jobs."""

    @abstractmethod
    def run(self, ctx: JobContext[InputT]) -> OutputT:
        """Do the work. Return the output, raise AttemptFailed or Retry; anything else is a retryable HANDLER_ERROR.

        A timeout or a cancel raises `Interrupted` (a BaseException) inside; clean up in `finally` and let it pass.
        """

    def on_invalid_input(self, ctx_log: Any, message: str) -> AttemptFailed:
        """The failure of an attempt whose input does not validate."""
        return AttemptFailed(errors.INPUT_INVALID, message)


class AsyncHandler(Handler[InputT, OutputT]):
    """A handler that waits for the network and hardly computes. Write `arun` instead of `run`.

    One I/O worker runs hundreds of them at once in one event loop, so nothing in `arun` may block: no `time.sleep`, no
    synchronous client. Longer computing goes into `asyncio.to_thread`; commands and heavy work into a `Handler`.
    """

    pool = "io"

    @abstractmethod
    async def arun(self, ctx: AsyncJobContext[InputT]) -> OutputT:
        """Do the work; it ends as `Handler.run` does. A timeout or a cancel raises `asyncio.CancelledError` inside."""

    def run(self, ctx: JobContext[InputT]) -> OutputT:
        """Do the work in an event loop of its own, where there is no I/O worker."""
        return asyncio.run(self.arun(ctx))


class UnavailableHandler(Handler[InputT, OutputT]):
    """A handler that this version does not have yet: its input is checked, and no more."""

    def run(self, ctx: JobContext[InputT]) -> NoReturn:
        """Fail with HANDLER_UNAVAILABLE, once and for all."""
        raise AttemptFailed(
            errors.HANDLER_UNAVAILABLE,
            f"{self.id} cannot run in this version of RauskuClaw: upgrade, or point the job type at another handler.",
        )


class Interrupted(BaseException):
    """Raised inside a handler that must stop now. A BaseException, so that `except Exception` cannot swallow it."""


class TimeLimit(Interrupted):
    """The attempt reached its soft time limit."""


class Cancelled(Interrupted):
    """The job was cancelled, or its lease was lost to another worker."""
