"""What a handler is: a class with a typed input, a typed output and a `run`. docs/handlers.md shows one in 30 lines."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NoReturn, Protocol, TypeVar, get_args

from pydantic import BaseModel, Field

from rauskuclaw import errors
from rauskuclaw.wire import PoolName

InputT = TypeVar("InputT", bound=BaseModel)
OutputT = TypeVar("OutputT", bound=BaseModel)
Level = Literal["debug", "info", "warn", "error"]
OnLine = Callable[[str, str], None]
"""Takes a stream's name, `stdout` or `stderr`, and one line of it without its end."""


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
        self,
        message: str,
        *,
        after_sec: float | None = None,
        code: errors.Code = errors.UPSTREAM_ERROR,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message, details, retryable=True)
        self.after_sec = after_sec


class Child(BaseModel, frozen=True, extra="forbid"):
    """A job for `ctx.spawn` to make. None: as the job that makes it (queue, priority), or its type's default."""

    type: str
    input: Any = None
    """A JSON value, or a model."""
    name: str = Field("", max_length=200)
    """What the parent calls it: shown in its tree, and given back with the result."""
    queue: str | None = None
    priority: int | None = None
    timeout_sec: int | None = None
    max_attempts: int | None = None
    concurrency_key: str | None = None
    """None: what the type's key_pointer finds in the input, else the parent's."""
    tags: Sequence[str] = ()
    approval: str = Field("", max_length=2000)
    """Why a person must approve of it before it begins; empty: nobody is asked. If it is denied or nobody decides in
    AGENT_APPROVAL_TIMEOUT_SEC, it ends cancelled, with APPROVAL_DENIED or APPROVAL_EXPIRED."""


@dataclass(frozen=True)
class ChildResult:
    """A child as it ended."""

    name: str
    job_id: uuid.UUID
    type: str
    status: str
    """succeeded, failed or cancelled."""
    result: Any = None
    """The child's output as JSON, if it has succeeded."""
    error: Mapping[str, Any] | None = None
    """`{message, code, details, at}`."""

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == "succeeded"


OnChildFailure = Literal["fail", "collect"]


class Spawn(BaseException):
    """Raised by `ctx.spawn`: the attempt ends and waits. A BaseException, so that `except Exception` lets it pass."""

    def __init__(self, children: Sequence[Child], on_failure: OnChildFailure, state: Any) -> None:
        if on_failure not in get_args(OnChildFailure):
            raise ValueError(f"on_failure is {on_failure!r}; it may be one of {get_args(OnChildFailure)}")
        self.children, self.on_failure, self.state = tuple(children), on_failure, state
        super().__init__(f"{len(self.children)} children")


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
    cookie: str
    """What marks the processes of the attempt (`jobs.processes`), for a handler that starts one itself."""
    children: Sequence[ChildResult]
    """What the jobs of the last `spawn` came to, in its order; empty as long as there was none."""
    state: Any
    """What the last `spawn` was given; None as long as there was none."""

    @property
    def workspace(self) -> Path:
        """The handlers' working directory; it exists."""

    def log(self, message: str, level: Level = "info", **meta: Any) -> None:
        """Append a log line; it is live within 0.2 s. meta: small JSON values, no secrets."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is: fraction in 0..1. Live; only the newest is kept."""

    def emit(self, text: str) -> None:
        """Send a piece of streaming text to live subscribers; late ones get all of the attempt's. No row holds it."""

    def remaining_sec(self) -> float:
        """Seconds to the deadline; never below 0."""

    def spawn(self, children: Sequence[Child], *, on_failure: OnChildFailure = "fail", state: Any = None) -> NoReturn:
        """Make jobs and wait for them without a worker: when all have ended `run` is called again, from its beginning.

        children: 1 to 1,000. on_failure: whether a child that fails for good or is cancelled fails this job at once and
        cancels the others ("fail"), or is one of the results ("collect"). state: a JSON value to be given back.
        Does not return. A fault in a child fails this job with CHILD_INVALID, too many with GROUP_LIMIT; then no job
        was made.
        """

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
        on_line: OnLine | None = None,
    ) -> Completed:
        """Run a command (argv, never a shell) in a process group of its own, with a scrubbed environment.

        Everything it starts dies with the attempt: at its end, timeout, cancel, or when the worker dies.
        live: each output line goes to the job's log while the command runs.
        on_line: called with each line instead, as (stream, line); the first 1,000, each cut at 4,000 characters.
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
    """What it runs in; an `AsyncHandler` in the event loop of an I/O worker."""
    short: ClassVar[bool] = False
    """Whether `run` only computes, for a few milliseconds at most. Its jobs share messages, claims and ends.

    Several times as many run a second then. Not for an `AsyncHandler`.
    """
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


class Interrupted(BaseException):
    """Raised inside a handler that must stop now. A BaseException, so that `except Exception` cannot swallow it."""


class TimeLimit(Interrupted):
    """The attempt reached its soft time limit."""


class Cancelled(Interrupted):
    """The job was cancelled, or its lease was lost to another worker."""
