"""The memory that a pool process shares with its worker's parent, between real processes."""

from __future__ import annotations

import os
import uuid

import pytest

from jobs.slots import Held, Slots, Why

JOB, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def in_a_child(slots: Slots, *attempts: tuple[uuid.UUID, int]) -> int:
    """A process that joins and takes the attempts one after the other, then ends. Returns its pid."""
    pid = os.fork()
    if pid == 0:
        slots.join()
        for job_id, number in attempts:
            slots.take(job_id, number, timeout_sec=9)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_the_parent_sees_what_a_process_ran_when_it_died() -> None:
    slots = Slots(1)

    pid = in_a_child(slots, (JOB, 3), (OTHER, 4))

    (held,) = slots.held()
    assert (held.key, held.pid, held.timeout_sec) == ((OTHER, 4), pid, 9)
    assert slots.of(pid) == held


def test_a_slot_is_free_again_only_when_the_parent_says_so() -> None:
    slots = Slots(1)
    pids = [in_a_child(slots, (JOB, n)) for n in range(1, 10)]

    assert sorted(held.number for held in slots.held()) == list(range(1, 10))
    for pid in pids:
        slots.leave(pid)
    assert slots.held() == []
    assert slots.pids() == []


def test_nothing_is_held_before_the_first_and_after_the_last() -> None:
    slots = Slots(1)
    slots.join()
    assert slots.held() == []

    slots.take(JOB, 1)
    slots.clear()

    assert slots.held() == []
    assert slots.of(os.getpid()) is None


def test_a_request_names_its_attempt() -> None:
    slots = Slots(1)
    slots.join()
    slots.take(JOB, 1)
    (held,) = slots.held()

    slots.tell(held, Why.TIME_LIMIT)

    assert slots.told(JOB, 1) is Why.TIME_LIMIT
    assert slots.told(JOB, 2) is None
    assert slots.told(OTHER, 1) is None


def test_a_half_written_record_is_never_believed() -> None:
    slots = Slots(1)
    slots.join()
    reader_is_done_read, reader_is_done_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        seen: set[Held | None] = {slots.of(os.getppid()) for _ in range(20_000)}
        sane = all(held is None or held.key in {(JOB, 1), (OTHER, 2)} for held in seen)
        os.write(reader_is_done_write, b"y" if sane else b"n")
        os._exit(0)
    while True:
        slots.take(JOB, 1)
        slots.take(OTHER, 2)
        if os.waitpid(pid, os.WNOHANG)[0]:
            break
    assert os.read(reader_is_done_read, 1) == b"y"


def test_a_full_house_is_an_error_and_not_somebody_elses_slot() -> None:
    slots = Slots(1)
    for _ in range(64):
        in_a_child(slots, (JOB, 1))

    with pytest.raises(RuntimeError, match="no free slot"):
        slots.join()
