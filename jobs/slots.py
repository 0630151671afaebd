"""What each pool process of a worker runs, and what it is told to stop: memory it shares with the worker's parent.

A pool process goes from one short job to the next by itself (jobs/tasks.py), faster than anybody could be told by a
message. So it writes what it takes into its slot, and the agent in the parent reads there. The other way round a
request to stop names its attempt, so one that comes late stops nothing else.

Each part of a slot has one writer. A reader may see half of a write; a checksum tells, and it reads again.

The memory is a file's, so what a worker was at outlives it: the next one on this machine reads there which attempts the
dead one had not begun (`unbegun_of`).
"""

from __future__ import annotations

import enum
import logging
import mmap
import os
import struct
import time
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rauskuclaw.config import load

logger = logging.getLogger("jobs.slots")

_ATTEMPT = struct.Struct("<16sIdH")
"""Job id, fencing number, since when (monotonic seconds, one clock for all processes), time limit in seconds or Why."""
_CHECKED_BYTES = _ATTEMPT.size + 4
_PID = struct.Struct("<I")
BUNDLE_MOST = 64
"""Attempts that one message may bring."""
_MEMBER = struct.Struct("<16sI")
_BUNDLE_BYTES = BUNDLE_MOST * _MEMBER.size
_RUNS_AT, _STOP_AT = 8, 8 + _CHECKED_BYTES
_BUNDLE_AT = 8 + 2 * _CHECKED_BYTES
_SLOT_BYTES = _BUNDLE_AT + _BUNDLE_BYTES + 4
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
    """Made in the worker's parent before its pool forks. A process of the pool is known by its pid.

    file: what is to hold them; without one, or where it cannot be made, they end with the worker.
    """

    def __init__(self, processes: int, *, file: Path | None = None) -> None:
        # Processes die and are replaced before their last words are read: room for more than live at once.
        self._count = max(64, 8 * processes)
        self._memory = _map(file, self._count * _SLOT_BYTES)
        self._mine: int | None = None
        self._has_bundle = False

    # In a pool process.

    def join(self) -> None:
        """Take a slot for this process. Raises RuntimeError when none is free, which no live pool can bring about."""
        pid = os.getpid()
        for step in range(self._count):
            start = (pid + step) % self._count * _SLOT_BYTES
            if _PID.unpack_from(self._memory, start)[0] == 0:
                self._write(start + _RUNS_AT, _NOTHING)
                self._write(start + _STOP_AT, _NOTHING)
                self._write(start + _BUNDLE_AT, _bundle_record(()))
                _PID.pack_into(self._memory, start, pid)
                self._mine = start
                return
        raise RuntimeError("no free slot for this pool process")

    def take(self, job_id: uuid.UUID, number: int, *, timeout_sec: int = NO_LIMIT_SEC) -> None:
        """This process has the attempt, and its time starts now. Called before the claim, and with the limit after."""
        if self._mine is not None:
            record = _ATTEMPT.pack(job_id.bytes, number, time.monotonic(), timeout_sec)
            self._write(self._mine + _RUNS_AT, record)

    def take_all(self, attempts: Sequence[tuple[uuid.UUID, int]]) -> None:
        """This process has these attempts (job, number), and the first one is its turn. Called before the claim."""
        if not attempts:
            self.clear()
        elif self._mine is not None:
            if len(attempts) > 1 or self._has_bundle:
                members = attempts if len(attempts) > 1 else ()
                self._write(self._mine + _BUNDLE_AT, _bundle_record(members))
                self._has_bundle = bool(members)
            self.take(*attempts[0])

    def clear(self) -> None:
        """This process is done with its attempts, and has written how they ended."""
        if self._mine is not None:
            self._write(self._mine + _RUNS_AT, _NOTHING)
            if self._has_bundle:
                self._write(self._mine + _BUNDLE_AT, _bundle_record(()))
                self._has_bundle = False

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

    def others(self, held: Held) -> tuple[list[Held], list[Held]]:
        """What else the process has in hand: what it ran before this attempt and may not have told yet, and what it has
        not begun."""
        start = self._find(held.pid)
        record = None if start is None else self._checked(start + _BUNDLE_AT, _BUNDLE_BYTES)
        members = [] if record is None else [it for it in _MEMBER.iter_unpack(record) if it != _NO_MEMBER]
        found = [Held(uuid.UUID(bytes=id), number, held.since, NO_LIMIT_SEC, held.pid) for id, number in members]
        place = next((n for n, it in enumerate(found) if it.key == held.key), None)
        # Where it runs none of them, they are still to be claimed.
        return ([], found) if place is None else (found[:place], found[place + 1 :])

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
        self._memory[at : at + len(record) + 4] = record + zlib.crc32(record).to_bytes(4, "little")

    def _read(self, at: int, pid: int) -> Held | None:
        record = self._checked(at, _ATTEMPT.size)
        if record is None or record == _NOTHING:
            return None
        job_id, number, since, timeout_sec = _ATTEMPT.unpack(record)
        return Held(uuid.UUID(bytes=job_id), number, since, timeout_sec, pid)

    def _checked(self, at: int, size: int) -> bytes | None:
        for _ in range(_READS):
            both = self._memory[at : at + size + 4]
            if zlib.crc32(both[:size]).to_bytes(4, "little") == both[size:]:
                return both[:size]
            time.sleep(0.0001)  # its writer is in the middle of it
        return None  # the writer died in the middle: what it ran is found by its lease


_NO_MEMBER = (bytes(16), 0)


def file_of(node: uuid.UUID) -> Path:
    """Where the slots of a worker are."""
    return load().var_dir / "slots" / str(node)


def unbegun_of(node: uuid.UUID) -> list[Held]:
    """The attempts that a dead worker of this machine had in hand and had not begun, as far as it left word."""
    try:
        size = file_of(node).stat().st_size
        left = Slots(size // _SLOT_BYTES // 8, file=file_of(node))
    except OSError:
        return []
    return [it for held in left.held() for it in left.others(held)[1]]


def _map(file: Path | None, size: int) -> mmap.mmap:
    if file is not None:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("a+b") as opened:
                # Reserved now: a full disk met at a write would be the end of the process.
                os.posix_fallocate(opened.fileno(), 0, size)
                return mmap.mmap(opened.fileno(), size)
        except OSError as error:
            logger.warning("what this worker runs will not be known after it: %s", error)
    return mmap.mmap(-1, size)


def _bundle_record(attempts: Sequence[tuple[uuid.UUID, int]]) -> bytes:
    return b"".join(_MEMBER.pack(job_id.bytes, number) for job_id, number in attempts).ljust(_BUNDLE_BYTES, b"\0")
