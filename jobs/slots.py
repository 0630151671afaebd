"""What each pool process of a worker runs, and what it is told to stop: memory it shares with the worker's parent.

A pool process goes from one short job to the next by itself (jobs/tasks.py), faster than anybody could be told by a
message. So it writes what it takes into its slot, and the agent in the parent reads there. The other way round a
request to stop names its attempt, so one that comes late stops nothing else.

Each part of a slot has one writer. A reader may see half of a write; a checksum tells, and it reads again.
"""

from __future__ import annotations

import enum
import mmap
import os
import struct
import time
import uuid
import zlib
from dataclasses import dataclass

_ATTEMPT = struct.Struct("<16sIdH")
"""Job id, fencing number, since when (monotonic seconds, one clock for all processes), time limit in seconds or Why."""
_CHECKED_BYTES = _ATTEMPT.size + 4
_PID = struct.Struct("<I")
_RUNS_AT, _STOP_AT, _SLOT_BYTES = 8, 8 + _CHECKED_BYTES, 8 + 2 * _CHECKED_BYTES
_NOTHING = _ATTEMPT.pack(bytes(16), 0, 0.0, 0)
_READS = 50
NO_LIMIT_SEC = 65_535


class Why(enum.IntEnum):
    """Why an attempt is to stop."""

    NOT_ITS_OWN = 1
    """It was cancelled, or its lease went to another worker: nothing it does counts any more."""
    TIME_LIMIT = 2
    """Its time is up; how it ends is still its own to say."""


@dataclass(frozen=True)
class Held:
    """An attempt that a pool process runs. `number` is its fencing number, `since` monotonic seconds."""

    job_id: uuid.UUID
    number: int
    since: float
    timeout_sec: int
    pid: int

    @property
    def key(self) -> tuple[uuid.UUID, int]:
        """What is unique to the attempt."""
        return self.job_id, self.number


class Slots:
    """Made in the worker's parent before its pool forks. A process of the pool is known by its pid."""

    def __init__(self, processes: int) -> None:
        # Processes die and are replaced before their last words are read: room for more than live at once.
        self._count = max(64, 8 * processes)
        self._memory = mmap.mmap(-1, self._count * _SLOT_BYTES)
        self._mine: int | None = None

    # In a pool process.

    def join(self) -> None:
        """Take a slot for this process. Raises RuntimeError when none is free, which no live pool can bring about."""
        pid = os.getpid()
        for step in range(self._count):
            start = (pid + step) % self._count * _SLOT_BYTES
            if _PID.unpack_from(self._memory, start)[0] == 0:
                self._write(start + _RUNS_AT, _NOTHING)
                self._write(start + _STOP_AT, _NOTHING)
                _PID.pack_into(self._memory, start, pid)
                self._mine = start
                return
        raise RuntimeError("no free slot for this pool process")

    def take(self, job_id: uuid.UUID, number: int, *, timeout_sec: int = NO_LIMIT_SEC) -> None:
        """This process has the attempt, and its time starts now. Called before the claim, and with the limit after."""
        if self._mine is not None:
            record = _ATTEMPT.pack(job_id.bytes, number, time.monotonic(), timeout_sec)
            self._write(self._mine + _RUNS_AT, record)

    def clear(self) -> None:
        """This process is done with its attempt, and has written how it ended."""
        if self._mine is not None:
            self._write(self._mine + _RUNS_AT, _NOTHING)

    def told(self, job_id: uuid.UUID, number: int) -> Why | None:
        """Why this attempt is to stop, if the parent's last request to this process names it."""
        if self._mine is None:
            return None
        request = self._read(self._mine + _STOP_AT, os.getpid())
        return Why(request.timeout_sec) if request is not None and request.key == (job_id, number) else None

    # In the parent.

    def held(self) -> list[Held]:
        """The attempts that run now."""
        pids = ((start, _PID.unpack_from(self._memory, start)[0]) for start in self._starts())
        found = (self._read(start + _RUNS_AT, pid) for start, pid in pids if pid)
        return [held for held in found if held is not None]

    def of(self, pid: int) -> Held | None:
        """What this process runs, or ran when it died."""
        start = self._find(pid)
        return None if start is None else self._read(start + _RUNS_AT, pid)

    def pids(self) -> list[int]:
        """The processes that have a slot, dead ones too until `leave`."""
        return [pid for start in self._starts() if (pid := _PID.unpack_from(self._memory, start)[0])]

    def tell(self, held: Held, why: Why) -> None:
        """Leave a request to stop; the caller sends the signal that makes the process look."""
        if (start := self._find(held.pid)) is not None:
            self._write(start + _STOP_AT, _ATTEMPT.pack(held.job_id.bytes, held.number, held.since, why))

    def leave(self, pid: int) -> None:
        """Free the slot of a process that is gone."""
        if (start := self._find(pid)) is not None:
            _PID.pack_into(self._memory, start, 0)

    def _starts(self) -> range:
        return range(0, self._count * _SLOT_BYTES, _SLOT_BYTES)

    def _find(self, pid: int) -> int | None:
        return next((start for start in self._starts() if _PID.unpack_from(self._memory, start)[0] == pid), None)

    def _write(self, at: int, record: bytes) -> None:
        self._memory[at : at + _CHECKED_BYTES] = record + zlib.crc32(record).to_bytes(4, "little")

    def _read(self, at: int, pid: int) -> Held | None:
        for _ in range(_READS):
            both = self._memory[at : at + _CHECKED_BYTES]
            record = both[: _ATTEMPT.size]
            if zlib.crc32(record).to_bytes(4, "little") == both[_ATTEMPT.size :]:
                break
            time.sleep(0.0001)
        else:
            return None  # the writer died in the middle: what it ran is found by its lease
        if record == _NOTHING:
            return None
        job_id, number, since, timeout_sec = _ATTEMPT.unpack(record)
        return Held(uuid.UUID(bytes=job_id), number, since, timeout_sec, pid)
