"""The memory that a pool process shares with its worker's parent, between real processes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.slots import BUNDLE_MOST, Held, Slots, Why, file_of, unbegun_of

JOB, OTHER, THIRD = (uuid.UUID(int=n) for n in (1, 2, 3))
BUNDLE = [(JOB, 1), (OTHER, 2), (THIRD, 3)]
Configure = Callable[..., Any]
Bundles = Sequence[Sequence[tuple[uuid.UUID, int]]]


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


def with_a_bundle(slots: Slots, *taken: tuple[uuid.UUID, int], bundles: Bundles = (BUNDLE,)) -> Held:
    """What the parent sees of a process that took these bundles and then these attempts, and ended."""
    pid = os.fork()
    if pid == 0:
        slots.join()
        for bundle in bundles:
            slots.take_all(bundle)
        for job_id, number in taken:
            slots.take(job_id, number, timeout_sec=9)
        os._exit(0)
    os.waitpid(pid, 0)
    held = slots.of(pid)
    assert held is not None
    return held


def keys(found: tuple[list[Held], list[Held]]) -> tuple[list[tuple[uuid.UUID, int]], ...]:
    return tuple([held.key for held in side] for side in found)


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


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_parent_sees_what_else_a_process_had_in_hand(place: int) -> None:
    slots = Slots(1)

    held = with_a_bundle(slots, *BUNDLE[: place + 1])

    assert held.key == BUNDLE[place]
    assert keys(slots.others(held)) == (BUNDLE[:place], BUNDLE[place + 1 :])


def test_before_its_claim_the_first_of_a_bundle_is_seen_with_those_behind_it() -> None:
    slots = Slots(1)

    held = with_a_bundle(slots)

    assert held.key == BUNDLE[0]
    assert keys(slots.others(held)) == ([], BUNDLE[1:])


def test_while_a_process_runs_none_of_its_bundle_all_of_it_is_unbegun() -> None:
    slots = Slots(1)

    held = with_a_bundle(slots, (uuid.UUID(int=9), 9))

    assert keys(slots.others(held)) == ([], BUNDLE)


@pytest.mark.parametrize("following", [BUNDLE[2:], BUNDLE[:2]], ids=["one", "two"])
def test_of_a_bundle_nothing_is_left_in_the_next(following: list[tuple[uuid.UUID, int]]) -> None:
    slots = Slots(1)

    held = with_a_bundle(slots, bundles=(BUNDLE, following))

    assert held.key == following[0]
    assert keys(slots.others(held)) == ([], following[1:])


def test_there_are_no_others_after_the_last() -> None:
    slots = Slots(1)
    slots.join()
    slots.take_all(BUNDLE)
    (held,) = slots.held()

    slots.clear()

    assert slots.others(held) == ([], [])
    assert slots.held() == []


def test_a_bundle_may_be_as_large_as_a_message() -> None:
    slots = Slots(1)
    most = [(uuid.UUID(int=n + 1), n + 1) for n in range(BUNDLE_MOST)]

    held = with_a_bundle(slots, most[-1], bundles=(most,))

    assert keys(slots.others(held)) == (most[:-1], [])


def test_what_a_dead_worker_had_not_begun_is_left_in_its_file(tmp_path: Path, configure: Configure) -> None:
    configure(VAR_DIR=tmp_path)
    node = uuid.uuid4()
    with_a_bundle(Slots(1, file=file_of(node)), *BUNDLE[:2])
    with_a_bundle(Slots(1, file=file_of(uuid.uuid4())), BUNDLE[0])

    assert [held.key for held in unbegun_of(node)] == BUNDLE[2:]
    assert unbegun_of(uuid.uuid4()) == []


def test_without_a_place_for_its_file_a_worker_works_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    slots = Slots(1, file=tmp_path / "file" / "slots")

    assert with_a_bundle(slots).key == BUNDLE[0]
