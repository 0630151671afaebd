"""What a running stack leaves for others to read: its lock, its state and its addresses."""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rauskuclaw.stack.errors import StackError
from rauskuclaw.stack.files import write_atomically


class Lock:
    """The right to run a stack on one `VAR_DIR`. The kernel takes it back from a dead process, however it died."""

    def __init__(self, var_dir: Path) -> None:
        self._path = var_dir / "supervisor.lock"
        self._fd: int | None = None

    def acquire(self, url: str) -> None:
        """Take the lock and write this process's number and `url` into it.

        Raises StackError naming the running process and its address when the lock is taken.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, _, address = os.read(fd, 400).decode().strip().partition("\n")
            os.close(fd)
            raise StackError(
                f"already running: pid {pid or 'unknown'} at {address or 'an address not known yet'} uses"
                f" {self._path.parent}. Stop it first (Ctrl-C there, or `kill {pid or 'PID'}`), or set another VAR_DIR."
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n{url}\n".encode())
        self._fd = fd

    def release(self) -> None:
        """Give the lock back. The file stays: removing it could hand a second stack a lock of its own."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


@dataclass
class ServiceRecord:
    """One service in `stack.json`. `born` tells its process from a later one with the same number."""

    name: str
    state: str
    pid: int | None = None
    born: str = ""
    restarts: int = 0


class StateFile:
    """`VAR_DIR/stack.json`: the supervisor's pid, url, state and services. Absent after a clean stop.

    Found at a start, it is the list of what an earlier supervisor could not end itself.
    """

    def __init__(self, path: Path, *, url: str, stack_id: str) -> None:
        self._path = path
        self._head = {
            "pid": os.getpid(),
            "url": url,
            "stack_id": stack_id,
            "started_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        self._written = ""

    def write(self, state: str, services: list[ServiceRecord]) -> None:
        """Replace the file if anything in it changed. state: starting, ready or stopping."""
        text = json.dumps({**self._head, "state": state, "services": [asdict(record) for record in services]}, indent=1)
        if text != self._written:
            write_atomically(self._path, text + "\n", mode=0o644)
            self._written = text

    def remove(self) -> None:
        """Delete the file: everything it lists has ended."""
        self._path.unlink(missing_ok=True)


def read_state(path: Path) -> dict[str, Any]:
    """The content of a `stack.json`; empty when there is none or it is unreadable."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def write_run_env(path: Path, values: Mapping[str, str]) -> None:
    """Write the addresses of the running stack, one NAME=value a line, readable by the owner alone."""
    write_atomically(path, "".join(f"{name}={value}\n" for name, value in values.items()), mode=0o600)
