"""What a run does, from its seed alone: each job, when it is submitted and how, and each fault, when and how long."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.chaos.kinds import KINDS, WORK

JOBS_PER_SEC = 12.0
LEAST_SEC = 60.0
"""A run takes so long at least, however few its jobs: there must be time for every fault."""

FAULT_EVERY_SEC = 5.0
FAULTS_AT_ONCE = {1: 5, 2: 4, 3: 2}
"""How many strike together, and how often."""
MEAN_AT_ONCE = sum(n * weight for n, weight in FAULTS_AT_ONCE.items()) / sum(FAULTS_AT_ONCE.values())
CALM_SEC = 3.0
"""No fault in the first seconds, so that something is there to be hit."""

Wire = Literal["sse", "ws"]


@dataclass(frozen=True)
class PlannedJob:
    """One submission. Its tag `p<number>` finds the job it made, whatever the client heard."""

    number: int
    at_sec: float
    kind: str
    key: str | None
    """Idempotency-Key; None: submitted once, and an unknown outcome stays unknown."""
    racers: int
    """Clients that submit it at the same moment."""
    type: str = WORK
    queue: str = "default"
    input: dict[str, Any] = field(default_factory=dict)
    flow: dict[str, Any] = field(default_factory=dict)
    """`concurrency_key`, `unique` and `expires_in_sec` of the request."""
    max_attempts: int = 10
    timeout_sec: int = 30
    batched: bool = False
    """Submitted with others of its time in one request, which must not be repeated."""
    priority: int | None = None
    """None: any."""
    after: tuple[int, ...] = ()
    """Numbers of the jobs it depends on."""
    cancel_after_sec: float | None = None
    cancel_child_after_sec: float | None = None
    calls_back: bool = False
    followed: Wire | None = None

    @property
    def unique_key(self) -> str:
        """Debounced by this; empty for none."""
        return str(self.flow.get("unique", {}).get("key", ""))


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
    kind = dice.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
    races = dice.random() < 0.15
    job = PlannedJob(
        number=number,
        at_sec=at_sec,
        kind=kind,
        key=f"chaos-{number}" if races or dice.random() < 0.85 else None,
        racers=dice.randint(2, 5) if races else 1,
        calls_back=dice.random() < 0.2,
        followed=dice.choice(("sse", "ws")) if dice.random() < 0.1 else None,
        **KINDS[kind].draw(dice, number),
    )
    # Two plans may have come to one job there, whose followers would be taken for one.
    if job.unique_key:
        return replace(job, followed=None)
    return replace(job, key=None, racers=1) if job.batched else job


def _faults(dice: random.Random, seconds: float, names: Sequence[str]) -> list[Fault]:
    """From a shuffled deck, so that every kind comes as often, and in a short run too at least once."""
    count = max(math.ceil(seconds / FAULT_EVERY_SEC), math.ceil(len(names) / MEAN_AT_ONCE) + 1)
    deck: list[str] = []
    found = []
    for at in sorted(dice.uniform(CALM_SEC, seconds) for _ in range(count)):
        for _ in range(dice.choices(list(FAULTS_AT_ONCE), list(FAULTS_AT_ONCE.values()))[0]):
            if not deck:
                deck = dice.sample(names, len(names))
            found.append(Fault(at, deck.pop(), dice.uniform(1.0, 4.0), dice.random()))
    return found
