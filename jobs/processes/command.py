"""Running one command so that nothing of it is left, whatever happens to the caller."""

from __future__ import annotations

import _thread
import errno
import functools
import itertools
import math
import os
import queue
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import psutil

from jobs.handlers.base import Completed, OnLine
from jobs.processes import hunt
from jobs.processes.family import die_with_parent
from jobs.processes.output import LiveLines, Output

COMMAND_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where commands are looked up, whatever the worker's own PATH."""

_CHUNK_BYTES = 65_536
_DRAIN_BYTES = 1_048_576
"""The most a pipe may still hold when its writer has ended: Linux's default /proc/sys/fs/pipe-max-size."""
_SIGNAL_CHECK_MS = 50
"""Python handles signals between bytecodes: one just before a blocking call would wait for the end of that call."""
_command_numbers = itertools.count(1)


def run(
    argv: Sequence[str],
    *,
    cookie: str,
    timeout_sec: float,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    max_chars: int = 256_000,
    on_line: OnLine | None = None,
) -> Completed:
    """Run a command to its end and return what came of it; a non-zero exit code is no error here.

    It gets a session of its own, no input, and of the environment only PATH, LANG, HOME and TMPDIR (both `cwd`), `env`
    on top, and the cookie `<node>/<job_id>/<fence>`. At `timeout_sec`, and when an exception strikes the caller at
    whatever point, the command and all it started are dead before `run` ends. What a command that ended by itself
    left in the background lives on, unheard, until its attempt ends.

    max_chars: of stdout and stderr each, what is kept. on_line: called in the caller's thread with the stream's name
    and each line as it comes, see `LiveLines`. Raises OSError if the command cannot be started.
    """
    guardian = _Guardian(argv, cookie=cookie, timeout_sec=timeout_sec, cwd=cwd, env=env or {})
    live = LiveLines(on_line) if on_line else None
    stdout, stderr = Output("stdout", max_chars, live), Output("stderr", max_chars, live)
    try:
        # The end of this block closes the leash, which kills the command. FileIO's enter and exit are C code: an
        # exception raised by a signal handler comes before the thread starts or inside the block, never between.
        with guardian.leash:
            _thread.start_new_thread(guardian.watch, ())
            _pump(guardian, {guardian.stdout.fileno(): stdout, guardian.stderr.fileno(): stderr})
    finally:
        outcome = guardian.wait()
    if not isinstance(outcome, _Ended):
        raise outcome or InterruptedError("the command was not started")
    return Completed(
        returncode=outcome.returncode,
        stdout=stdout.kept,
        stderr=stderr.kept,
        duration_ms=outcome.duration_ms,
        timed_out=outcome.timed_out,
        truncated=stdout.truncated or stderr.truncated,
        stdout_tail=stdout.tail,
        stderr_tail=stderr.tail,
    )


def _pump(guardian: _Guardian, outputs: dict[int, Output]) -> None:
    """Read both streams until the guardian ends; then only what is left in the pipes, which others may hold open."""
    leash = guardian.leash.fileno()
    poller = select.poll()
    for fd in (leash, *outputs):
        poller.register(fd, select.POLLIN)
    while leash not in (ready := [fd for fd, _ in poller.poll(_SIGNAL_CHECK_MS)]):
        for fd in ready:
            if not _read_chunk(fd, outputs[fd]):
                poller.unregister(fd)
    for fd, output in outputs.items():
        for _ in range(_DRAIN_BYTES // _CHUNK_BYTES):
            if not _read_chunk(fd, output):
                break
        output.feed(b"", last=True)


def _read_chunk(fd: int, output: Output) -> bool:
    """Whether there was something to read."""
    try:
        data = os.read(fd, _CHUNK_BYTES)
    except BlockingIOError:
        return False
    output.feed(data)
    return bool(data)


@dataclass(frozen=True)
class _Ended:
    returncode: int
    duration_ms: int
    timed_out: bool


class _Guardian:
    """Starts, watches and kills one command, in a thread of its own: signal handlers only ever raise in the main one.

    The leash is one end of a socket pair. The caller closing it means "leave nothing running"; the guardian closing
    the other end means "nothing is running".
    """

    def __init__(
        self, argv: Sequence[str], *, cookie: str, timeout_sec: float, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self._argv, self._cwd, self._timeout_sec = list(argv), cwd, timeout_sec
        self._mark = f"{cookie}/{next(_command_numbers)}"
        fixed = {"PATH": COMMAND_PATH, "LANG": "C.UTF-8", "HOME": str(cwd), "TMPDIR": str(cwd)}
        self._env = {**fixed, **env, hunt.ATTEMPT_VARIABLE: self._mark}
        self.leash, self._other_end = (FileIO(end.detach(), "r+b") for end in socket.socketpair())
        self.stdout, self._stdout_in = _pipe()
        self.stderr, self._stderr_in = _pipe()
        self._outcome: queue.SimpleQueue[_Ended | BaseException] = queue.SimpleQueue()
        self._started = False

    def wait(self) -> _Ended | BaseException | None:
        """How the command ended or why it could not start, once it is over; None if the thread has not begun.

        A thread that begins later finds the leash closed and starts nothing.
        """
        self.stdout.close()
        self.stderr.close()
        return self._outcome.get() if self._started else None

    def watch(self) -> None:
        """The thread's life."""
        self._started = True
        outcome: _Ended | BaseException
        try:
            outcome = self._supervise()
        except BaseException as error:  # the caller raises it
            outcome = error
        self._close_inputs()
        self._outcome.put(outcome)
        self._other_end.close()

    def _supervise(self) -> _Ended:
        if self._is_abandoned():
            raise InterruptedError("the caller left before the command was started")
        began = time.monotonic()
        process = self._spawn()
        ended, killed = False, set[psutil.Process]()
        try:
            self._close_inputs()
            ended = self._ends_before(process, began + self._timeout_sec)
        finally:
            if not ended:
                killed = hunt.kill_all(lambda: self._tree(process.pid))
            returncode = process.wait()
            hunt.reap(killed)
        return _Ended(returncode, round((time.monotonic() - began) * 1000), timed_out=not ended)

    def _spawn(self) -> subprocess.Popen[bytes]:
        prefix = launcher()
        if prefix:
            require_executable(self._argv[0], self._env["PATH"], self._cwd)
        return subprocess.Popen(  # noqa: S603 - argv comes from the handler, which has its own allowlist
            [*prefix, *self._argv],
            stdin=subprocess.DEVNULL,
            stdout=self._stdout_in,
            stderr=self._stderr_in,
            cwd=self._cwd,
            env=self._env,
            start_new_session=True,
            preexec_fn=None if prefix else functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
        )

    def _ends_before(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Whether the command ends by itself, before the deadline and before the caller leaves. Does not collect it:
        an uncollected child keeps its pid, so a kill cannot hit a stranger."""
        poller = select.poll()
        poller.register(self._other_end, select.POLLIN)
        if sys.platform != "linux":
            while process.poll() is None:
                if poller.poll(10) or time.monotonic() >= deadline:
                    return False
            return True
        pidfd = os.pidfd_open(process.pid)
        poller.register(pidfd, select.POLLIN)
        try:
            wait_ms = math.ceil((deadline - time.monotonic()) * 1000)
            return pidfd in [fd for fd, _ in poller.poll(max(0, wait_ms))]
        finally:
            os.close(pidfd)

    def _tree(self, pid: int) -> set[psutil.Process]:
        """The command, its descendants, and the daemons that carry its mark."""
        return {psutil.Process(pid), *hunt.find(below=[pid], mark=self._mark)}

    def _is_abandoned(self) -> bool:
        poller = select.poll()
        poller.register(self._other_end, select.POLLIN)
        return bool(poller.poll(0))

    def _close_inputs(self) -> None:
        self._stdout_in.close()
        self._stderr_in.close()


def _pipe() -> tuple[FileIO, FileIO]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    return FileIO(reader, "rb"), FileIO(writer, "wb")


@functools.cache
def launcher() -> tuple[str, ...]:
    """The start of a command line that makes a command die with this process; empty where util-linux is missing.

    The other way, a `preexec_fn`, must fork all of this process instead of a vfork: 4 ms instead of 1 for a worker of
    50 MB, more for a larger one, and Python code runs in the child of a process with threads.
    """
    setpriv = shutil.which("setpriv", path=COMMAND_PATH)
    if setpriv is None:
        return ()
    described = subprocess.run([setpriv, "--help"], capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    return (setpriv, "--pdeathsig", "KILL", "--") if b"--pdeathsig" in described.stdout else ()


def require_executable(name: str, path: str, cwd: Path) -> None:
    """Raise the OSError that starting `name` directly would raise; a launcher could only exit with a code."""
    file = name if os.sep not in name else str(cwd / name)
    if shutil.which(file, path=path) is None:
        code = errno.EACCES if os.sep in name and Path(file).exists() else errno.ENOENT
        raise OSError(code, os.strerror(code), name)
