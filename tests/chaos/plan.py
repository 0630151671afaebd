"""What a run does, from its seed alone: each job, when it is submitted and how, and each fault, when and how long."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

JOBS_PER_SEC = 15.0
LEAST_SEC = 60.0
"""A run takes so long at least, however few its jobs: there must be time for every fault."""

FAULT_EVERY_SEC = 5.0
CALM_SEC = 3.0
"""No fault in the first seconds, so that something is there to be hit."""

Wire = Literal["sse", "ws"]

# kind: (weight, fields of the handler's input drawn with it)
KINDS: dict[str, float] = {
    "no-op": 30,
    "sleeping": 16,
    "flaky": 14,
    "doomed": 3,
    "children": 10,
    "cancelled": 14,
    "dependent": 11,
    "stubborn": 2,
}


@dataclass(frozen=True)
class PlannedJob:
    """One submission. Its tag `p<number>` finds the job it made, whatever the client heard."""

    number: int
    at_sec: float
    kind: str
    input: dict[str, Any]
    max_attempts: int
    timeout_sec: int
    key: str | None
    """Idempotency-Key; None: submitted once, and an unknown outcome stays unknown."""
    racers: int
    """Clients that submit it at the same moment."""
    after: tuple[int, ...] = ()
    """Numbers of the jobs it depends on."""
    cancel_after_sec: float | None = None
    calls_back: bool = False
    followed: Wire | None = None


@dataclass(frozen=True)
class Fault:
    """One fault. pick: 0..1, which of several victims; the fault itself knows what to do with it."""

    at_sec: float
    name: str
    seconds: float
    pick: float


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    seed: int
    seconds: float
    jobs: Sequence[PlannedJob] = field(repr=False)
    faults: Sequence[Fault] = field(repr=False)


def make_plan(*, jobs: int, seed: int, faults: Sequence[str]) -> Plan:
    """The plan of `seed`: the same for the same arguments, on any machine."""
    dice = random.Random(seed)
    seconds = max(LEAST_SEC, jobs / JOBS_PER_SEC)
    times = sorted(dice.uniform(0, seconds) for _ in range(jobs))
    planned = [_job(dice, number, at) for number, at in enumerate(times)]
    return Plan(seed, seconds, planned, list(_faults(dice, seconds, faults)))


def _job(dice: random.Random, number: int, at_sec: float) -> PlannedJob:
    kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
    input_: dict[str, Any] = {}
    after: tuple[int, ...] = ()
    attempts, timeout_sec, cancel_after = 10, 30, None
    if kind == "sleeping":
        input_ = {"sleep_sec": round(dice.uniform(0.1, 3), 3), "lines": dice.randrange(0, 30)}
    elif kind == "flaky":
        input_ = {"fail_first": dice.randint(1, 3), "lines": 2, "sleep_sec": 0.02}
    elif kind == "doomed":
        input_, attempts = {"fail_first": 99}, dice.randint(1, 3)
    elif kind == "children":
        input_ = {"children": dice.randint(1, 3), "sleep_sec": round(dice.uniform(0, 0.5), 3)}
    elif kind == "cancelled":
        input_ = {"sleep_sec": round(dice.uniform(0, 4), 3), "children": dice.choice((0, 0, 1)), "lines": 5}
        cancel_after = dice.choice((0.0, dice.uniform(0, 1), dice.uniform(0, 3)))
    elif kind == "dependent":
        after = tuple(
            {dice.randrange(max(0, number - 20), number) for _ in range(dice.randint(1, 3))} if number else ()
        )
    elif kind == "stubborn":
        input_, attempts, timeout_sec = {"stubborn": True, "children": 1}, dice.randint(1, 2), 1
    races = dice.random() < 0.15
    return PlannedJob(
        number=number,
        at_sec=at_sec,
        kind=kind,
        input=input_,
        max_attempts=attempts,
        timeout_sec=timeout_sec,
        key=f"chaos-{number}" if races or dice.random() < 0.85 else None,
        racers=dice.randint(2, 5) if races else 1,
        after=after,
        cancel_after_sec=cancel_after,
        calls_back=dice.random() < 0.2,
        followed=dice.choice(("sse", "ws")) if dice.random() < 0.1 else None,
    )


def _faults(dice: random.Random, seconds: float, names: Sequence[str]) -> list[Fault]:
    """One, two or three at a time. From a shuffled deck, so that a short run too meets every kind."""
    moments = sorted(dice.uniform(CALM_SEC, seconds) for _ in range(math.ceil(seconds / FAULT_EVERY_SEC)))
    deck: list[str] = []
    found = []
    for at in moments:
        for _ in range(dice.choices((1, 2, 3), (5, 4, 2))[0]):
            if not deck:
                deck = dice.sample(names, len(names))
            found.append(Fault(at, deck.pop(), dice.uniform(1.0, 4.0), dice.random()))
    return found
