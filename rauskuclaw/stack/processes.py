"""Start processes that cannot outlive the supervisor, and end whole trees of them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from rauskuclaw.stack.account import Account, enter_namespace, nobody

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    account: Account = Account.SELF,
    death_signal: signal.Signals = signal.SIGKILL,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    pass_fds: Collection[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, with stdout and stderr both in `stdout`, a pipe by default.

    Its own session keeps the terminal's Ctrl-C for the supervisor alone. On Linux the kernel sends `death_signal` to
    the process when the calling *thread* ends: call this from the main thread. Raises OSError or
    subprocess.SubprocessError where it cannot be started.
    """
    parent = os.getpid()
    identity = nobody() if account is Account.NOBODY else None

    def before_exec() -> None:
        if account is Account.NAMESPACE:
            enter_namespace()
        if LINUX:
            # After every change of the user id, because such a change clears it.
            _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != parent:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 - argv is always ours, and no shell reads it
        [str(part) for part in argv],
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
        # Not thread-safe in general; safe here because nothing it calls takes a lock.
        preexec_fn=before_exec,  # noqa: PLW1509
        user=identity.pw_uid if identity else None,
        group=identity.pw_gid if identity else None,
        extra_groups=[] if identity else None,
    )


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies, so that `sweep` can end them."""
    if LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def sweep(known: Collection[int], *, seconds: float = 5.0) -> int:
    """SIGKILL and reap all children of this process except `known`; the number of them.

    After `adopt_orphans` these are what a dead worker, handler or tool left running. Their own children are adopted as
    they die, so it repeats until none is left, for at most `seconds`.
    """
    swept: set[int] = set()
    end = time.monotonic() + seconds
    while orphans := [pid for pid in _children() if pid not in known]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        swept.update(orphans)
        if time.monotonic() > end:
            break
        time.sleep(0.005)
    return len(swept)


def kill_tree(pid: int) -> None:
    """SIGKILL process `pid`, its process group, its session and its descendants. Gone processes are no error.

    The head dies first, so that it cannot replace the children it loses.
    """
    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in descendants:
        with contextlib.suppress(psutil.Error):
            process.kill()


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.01) -> bool:
    """Ask `condition` until it holds or `seconds` have passed; whether it held."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def birth(pid: int) -> str:
    """What tells this process from a later one with the same number; empty when there is none.

    On Linux the boot and the tick of its start: unlike a wall-clock time, no adjustment of the clock moves it.
    """
    try:
        if LINUX:
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + ":" + ticks
        return f"{psutil.Process(pid).create_time():.0f}"
    except (OSError, IndexError, psutil.Error):
        return ""


def _children() -> list[int]:
    try:
        return list(_children_by_kernel())
    except FileNotFoundError:  # not Linux, or a kernel without CONFIG_PROC_CHILDREN
        return [process.pid for process in psutil.Process().children()]


def _children_by_kernel() -> Iterator[int]:
    """Cheap enough for twice a second: one small read, where psutil reads the status of every process."""
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())
