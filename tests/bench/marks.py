"""The mark every no-op leaves: the moment it started, in one small file that all contenders share.

A mark is CLOCK_MONOTONIC in nanoseconds, 8 bytes, little-endian: one clock for all processes of a machine. Appending 8
bytes costs about a microsecond, takes no part of either server, and is the same for everybody. Imports nothing of ours:
the peers run in a virtual environment without it.
"""

from __future__ import annotations

import array
import os
import time
from pathlib import Path

VARIABLE = "BENCH_MARKS"
SIZE = 8

_fd: int | None = None


def mark() -> None:
    """Leave a mark: called by the no-op itself."""
    global _fd  # noqa: PLW0603 - opened once a process, after the fork or before it: appending needs no position
    moment = time.monotonic_ns()
    if _fd is None:
        _fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(_fd, moment.to_bytes(SIZE, "little"))


class Marks:
    """The reader's side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.path.write_bytes(b"")

    def __len__(self) -> int:
        return self.path.stat().st_size // SIZE

    def moments(self) -> list[int]:
        """Every mark, ns."""
        found = array.array("q")
        found.frombytes(self.path.read_bytes())
        return list(found)

    def wait_for(self, count: int, *, patience_sec: float = 300.0) -> None:
        """Return once there are `count` marks, at most 0.5 ms late. Raises TimeoutError."""
        deadline = time.monotonic() + patience_sec
        while len(self) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self)} of {count} jobs ran in {patience_sec:.0f} s")
            time.sleep(0.0005)
