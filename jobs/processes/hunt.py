"""Finding and killing what jobs left running."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import psutil

ATTEMPT_VARIABLE = "RAUSKUCLAW_ATTEMPT"
"""Environment variable of all that a job spawns: `<node>/<job_id>/<fence>`; for a command of `run`, `/<n>` after it."""

_KILL_SEC = 5.0
"""Longest time one kill may take, in seconds: a process deep in a system call dies only when the kernel lets it."""
logger = logging.getLogger("jobs.processes")


def kill_descendants(pid: int) -> int:
    """SIGKILL every descendant of `pid`, not itself, until none is left. Returns how many there were.

    With the caller's own pid it also collects the dead, so it must not run while another thread waits for a child.
    """
    if _is_childless(pid):
        return 0
    killed = kill_all(lambda: find(below=[pid]))
    reap(find(below=[pid]))
    return len(killed)


def kill_marked(prefix: str) -> int:
    """SIGKILL every process whose cookie is `prefix` or below it, with its descendants. Returns how many there were.

    prefix: whole parts of a cookie, e.g. `<node>` or `<node>/<job_id>/<fence>`; fence 1 does not match fence 12.
    """
    killed = kill_all(lambda: find(mark=prefix))
    reap(killed)
    return len(killed)


def kill_tree(process: psutil.Process, mark: str) -> None:
    """SIGKILL a process, unless its pid is another's by now, its descendants, and whatever carries its mark."""
    kill_all(lambda: {process, *find(below=[process.pid], mark=mark)} if process.is_running() else find(mark=mark))


def kill_adopted() -> int:
    """SIGKILL the orphans that this process got as a subreaper, and collect the dead. Returns how many it killed.

    They are told from children of its own by their session: `run` gives each command a new one, while billiard's pool
    children share the worker's. So no pool child is killed here, and none has its exit status taken from billiard.
    """
    if _is_childless(os.getpid()):
        return 0
    killed = kill_all(lambda: [*(orphans := _adopted()), *find(below=[orphan.pid for orphan in orphans])])
    reap(_adopted())
    return len(killed)


def kill_all(search: Callable[[], Iterable[psutil.Process]]) -> set[psutil.Process]:
    """Stop what `search` finds until it finds nothing new, then SIGKILL all of it and wait until it is dead.

    Stopped first, because a killed parent hands the children it has just forked, not listed yet, to somebody else.
    No fork completes in a process that has a signal pending, so a listing after the stop misses none.
    """
    doomed: set[psutil.Process] = set()
    give_up_at = time.monotonic() + _KILL_SEC
    while time.monotonic() < give_up_at:
        fresh = {process for process in search() if process not in doomed and _is_alive(process)}
        if not fresh:
            break
        _send(fresh, signal.SIGSTOP)
        doomed |= fresh
    _send(doomed, signal.SIGKILL)
    alive = doomed
    while (alive := {process for process in alive if _is_alive(process)}) and time.monotonic() < give_up_at:
        time.sleep(0.001)
    for process in alive:
        logger.warning("a job's process does not die of SIGKILL: %s", process)
    return doomed


def reap(processes: Iterable[psutil.Process]) -> None:
    """Collect those of `processes` that are dead children of this one, so that no zombie stays."""
    for process in processes:
        try:
            os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            continue


def _is_childless(pid: int) -> bool:
    """A glance that spares most attempts the 10 ms of listing all processes. False where it cannot tell."""
    if pid == os.getpid():
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False
    tasks = f"/proc/{pid}/task"
    try:
        return not any(Path(tasks, task, "children").read_bytes() for task in os.listdir(tasks))  # noqa: PTH208 - faster
    except OSError:
        return False


def find(*, below: Collection[int] = (), mark: str = "") -> set[psutil.Process]:
    """Every process whose cookie is `mark` or below it, and all descendants of those and of the pids in `below`.

    Zombies too; never this process. One pass over all processes of the machine.
    """
    children: dict[int, list[int]] = defaultdict(list)
    marked = []
    for pid in psutil.pids():
        parent, cookie = _parent_and_cookie(pid)
        children[parent].append(pid)
        if mark and f"{cookie}/".startswith(f"{mark.rstrip('/')}/"):
            marked.append(pid)
    found, parents = set(marked), [*below, *marked]
    while parents:
        offspring = children.pop(parents.pop(), [])
        found.update(offspring)
        parents += offspring
    return {process for pid in found - {os.getpid()} for process in _existing(pid)}


def _parent_and_cookie(pid: int) -> tuple[int, str]:
    """Parent's pid and cookie of a process; -1 and empty if it is gone, a zombie, or somebody else's."""
    if sys.platform != "linux":
        try:
            process = psutil.Process(pid)
            return process.ppid(), process.environ().get(ATTEMPT_VARIABLE, "")
        except (psutil.Error, OSError):
            return -1, ""
    # Straight from /proc, because psutil takes ten times as long and a cancelled job is to be stopped at once.
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return -1, ""
    parent = int(stat[stat.rindex(b")") + 2 :].split(None, 2)[1])
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return parent, ""
    _, is_marked, rest = (b"\0" + environ).partition(b"\0" + ATTEMPT_VARIABLE.encode() + b"=")
    return parent, rest.partition(b"\0")[0].decode("utf-8", "replace") if is_marked else ""


def _existing(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            logger.warning("a job's process runs as another user and cannot be killed: %s", process)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.Error:
        return False


def _adopted() -> list[psutil.Process]:
    session = os.getsid(0)
    return [child for child in psutil.Process().children() if _session(child.pid) not in {session, None}]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
