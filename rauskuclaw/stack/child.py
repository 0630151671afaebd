"""One supervised process: how it is started, what it said, how it ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rauskuclaw.stack.account import Account
from rauskuclaw.stack.processes import birth, kill_tree, spawn
from rauskuclaw.stack.state import ServiceRecord

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
HEALTHY_SECONDS = 30.0
"""A process that ran this long starts its back-off anew when it dies."""

_TAIL_LINES = 40
_LONGEST_LINE = 16_384


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a process of the stack is. Times in seconds.

    stage: services stop from the highest stage to the lowest, those of one stage together.
    stop_seconds: from `stop_signal` to the kill of the whole tree.
    death_signal: what the kernel sends when the supervisor dies (Linux).
    early: may start beside the one-off task that prepares the database, because it uses none until it is asked.
    is_ready: asked with the process number; None where readiness is known otherwise.
    shows: whether a line of its output is for the terminal; hidden lines are still kept for an error report.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    stage: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    account: Account = Account.SELF
    cwd: Path | None = None
    early: bool = False
    is_ready: Callable[[int], bool] | None = None
    shows: Callable[[str], bool] = lambda _line: True


class Child:
    """A `Service` at run time."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.state = "stopped"
        self.restarts = 0
        # All ends of the pipe are closed: nothing more can come.
        self.at_end = False
        self.retry_at: float | None = None
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._born = ""
        self._started = 0.0
        self._failures = 0
        self._killed = False
        self._partial = b""

    @property
    def pid(self) -> int | None:
        """The process number while a process runs or waits to be reaped."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def output(self) -> int | None:
        """File descriptor of its output, non-blocking, while it is open."""
        stream = self._process.stdout if self._process else None
        return None if stream is None or stream.closed else stream.fileno()

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it. Reaps the process."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process. Raises OSError or subprocess.SubprocessError."""
        service = self.service
        self._process = spawn(
            service.argv,
            env=service.env,
            account=service.account,
            death_signal=service.death_signal,
            cwd=service.cwd,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._born = birth(self._process.pid)
        self._started = time.monotonic()
        self._partial = b""
        self.at_end = False
        self._killed = False
        self.retry_at = None
        self.state = "starting"

    def is_ready(self) -> bool:
        """Whether it runs and, where the service can tell, answers."""
        if self._process is None or self.returncode is not None:
            return False
        return self.service.is_ready is None or self.service.is_ready(self._process.pid)

    def read(self) -> Iterable[str]:
        """The complete lines that have come since the last call; also the last, open one once it has ended."""
        fd = self.output
        if fd is None:
            return []
        ended = self.returncode is not None
        chunks = [self._partial]
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(fd, 65_536):
                chunks.append(chunk)
            self.at_end = True
        *lines, self._partial = b"".join(chunks).split(b"\n")
        if ended or len(self._partial) > _LONGEST_LINE:
            lines, self._partial = [*lines, self._partial], b""
        texts = [line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip() for line in lines]
        self.tail.extend(text for text in texts if text)
        return [text for text in texts if text and self.service.shows(text)]

    def close_output(self) -> None:
        """Let go of the pipe. What still holds its other end is about to be killed."""
        if self._process and self._process.stdout:
            self._process.stdout.close()

    def plan_restart(self) -> float:
        """After a death: count it and set `retry_at`. The seconds to wait: 0.5, 1, 2, … 30."""
        now = time.monotonic()
        if now - self._started > HEALTHY_SECONDS:
            self._failures = 0
        self._failures += 1
        self.restarts += 1
        delay = min(LONGEST_RESTART_SECONDS, FIRST_RESTART_SECONDS * 2.0 ** (self._failures - 1))
        self.retry_at = now + delay
        self.state = "restarting"
        return delay

    @property
    def failures(self) -> int:
        """Deaths in a row, each before `HEALTHY_SECONDS`."""
        return self._failures

    def ask_to_stop(self) -> None:
        """Send the service's stop signal to the process itself, which ends its children as it likes."""
        if self._process and self.returncode is None:
            self._process.send_signal(self.service.stop_signal)

    def kill(self) -> None:
        """SIGKILL the process and everything it started, and reap it. Once for each start; later calls do nothing."""
        if self._process is None or self._killed:
            return
        self._killed = True
        if self.returncode is None:
            kill_tree(self._process.pid)
            self._process.wait()
            return
        # The head is gone and reaped, but its number stays taken while its group has members. Long after, it may be
        # somebody else's: hence only once.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def how_it_ended(self) -> str:
        """`signal 9` or `exit 1`."""
        code = self.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit {code}"

    def record(self) -> ServiceRecord:
        """Its line in `stack.json`."""
        running = self.pid is not None
        return ServiceRecord(self.service.name, self.state, self.pid, self._born if running else "", self.restarts)
