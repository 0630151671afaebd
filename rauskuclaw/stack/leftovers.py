"""Ends what a killed supervisor could not.

On Linux the kernel ends its children with it, so mostly there is nothing to do but wait for the servers to finish their
shutdown. Elsewhere, and for what slipped through, three traces lead to leftovers: the process numbers in
`stack.json`, the sessions those processes opened, and the pid files of the two servers.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from rauskuclaw.stack.errors import StackError
from rauskuclaw.stack.processes import birth, wait_until
from rauskuclaw.stack.state import read_state

STACK_ID = "RAUSKUCLAW_STACK_ID"
"""Environment variable in every process of a stack, to know it again by."""

_SERVERS = (
    # program, data folder, pid file, fast shutdown
    ("postgres", "postgres", "postmaster.pid", signal.SIGINT),
    ("valkey-server", "redis", "valkey.pid", signal.SIGTERM),
)
_SHUTDOWN_SECONDS = 20.0
_KILL_SECONDS = 10.0


def clean_up(var_dir: Path) -> list[str]:
    """End what an earlier stack on `var_dir` left running; call it while holding the lock. What it did, as sentences.

    Web, workers and beat are killed: the leases of their jobs expire and the jobs go on. Servers get a fast shutdown
    first. Raises StackError when something survives SIGKILL.
    """
    state = read_state(var_dir / "stack.json")
    done = []
    recorded = [record for record in state.get("services", []) if isinstance(record.get("pid"), int)]
    apps = [record for record in recorded if record.get("name") not in {"postgres", "redis"}]
    processes = _of_stack(apps, str(state["stack_id"])) if state.get("stack_id") else []
    if processes:
        _kill(processes)
        done.append(f"killed {len(processes)} process{'es' if len(processes) > 1 else ''} of an earlier run")
    done += [said for server in _SERVERS if (said := _end_server(var_dir, *server))]
    (var_dir / "stack.json").unlink(missing_ok=True)
    return done


def _of_stack(records: Iterable[dict[str, object]], stack_id: str) -> list[psutil.Process]:
    """The recorded processes, all of their sessions, and whatever else carries the stack's id."""
    own = os.getpid()
    numbers = {int(str(record["pid"])) for record in records}
    # A number is not given to a new process while it names a session, so a session's number proves kinship; unless
    # the session ended and the number went to somebody else, which its birth tells.
    stolen = {
        int(str(record["pid"]))
        for record in records
        if (now := birth(int(str(record["pid"])))) and now != record.get("born")
    }
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == own or process.status() == psutil.STATUS_ZOMBIE:
                continue
            kin = os.getsid(process.pid) in numbers - stolen
            if kin or (not _is_server(process) and process.environ().get(STACK_ID) == stack_id):
                found.append(process)
    return found


def _is_server(process: psutil.Process) -> bool:
    return process.name() in {program for program, *_ in _SERVERS}


def _end_server(var_dir: Path, program: str, folder: str, pid_file: str, fast: signal.Signals) -> str:
    data = var_dir / folder
    try:
        pid = int((data / pid_file).read_text("utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return ""
    process = _server(pid, program, data)
    if process is None:
        # Only now is the file known to be a lie: its number may belong to anybody, and a server that starts
        # would take that process for a running twin.
        (data / pid_file).unlink(missing_ok=True)
        return ""
    with suppress(psutil.Error):
        process.send_signal(fast)
        if not wait_until(lambda: not process.is_running() or _is_zombie(process), seconds=_SHUTDOWN_SECONDS):
            _kill([process, *process.children(recursive=True)])
    return f"stopped {program} (pid {pid}) of an earlier run"


def _server(pid: int, program: str, data: Path) -> psutil.Process | None:
    """Process `pid` if it is `program` at work in `data`."""
    try:
        process = psutil.Process(pid)
        same = process.name() == program and Path(process.cwd()).samefile(data) and not _is_zombie(process)
    except (psutil.Error, OSError):
        return None
    return process if same else None


def _is_zombie(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return False


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    _, alive = psutil.wait_procs(processes, timeout=_KILL_SECONDS)
    if alive := [process for process in alive if not _is_zombie(process)]:
        raise StackError(f"an earlier run left processes that cannot be killed: {[process.pid for process in alive]}")
