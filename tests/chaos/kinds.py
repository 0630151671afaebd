"""What the jobs of a run are: their types and limits, and the kinds that clients submit, drawn from the seed's dice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

WORK = "chaos.work"
QUEUE_LIMITS = {"narrow": 2}
"""max_running of the queues that have one."""
KEEP, REPLACE = "keep", "replace"
"""What unique keys begin with: their policy."""
UNIQUE_WINDOW_SEC = {KEEP: 3, REPLACE: 5}


@dataclass(frozen=True)
class Rate:
    """At most `limit` attempts of a concurrency key begin in any `period_sec`."""

    limit: int
    period_sec: int


@dataclass(frozen=True)
class JobType:
    """A job type of the run: its handler and its limits."""

    handler: str = "test:chaos"
    max_running: int | None = None
    max_running_per_key: int | None = None
    on_limit: Literal["wait", "cancel_running", "drop_new"] = "wait"
    rate: Rate | None = None

    def body(self, name: str) -> dict[str, Any]:
        """For POST /v1/job-types. Retries come soon, or a run would wait for back-offs."""
        rate = {"limit": self.rate.limit, "period_sec": self.rate.period_sec, "per_key": True} if self.rate else None
        limits = {
            "max_running": self.max_running, "max_running_per_key": self.max_running_per_key,
            "on_limit": self.on_limit, "rate": rate,
        }  # fmt: skip
        retry = {"base_sec": 0.3, "factor": 1.5, "max_sec": 3.0, "jitter": 0.2}
        return {"name": name, "handler": self.handler, "retry": retry, "limits": limits}


TYPES = {
    WORK: JobType(),
    "chaos.few": JobType(max_running=2),
    "chaos.single": JobType(max_running=1),
    "chaos.keyed": JobType(max_running_per_key=1),
    "chaos.newest": JobType(max_running_per_key=1, on_limit="cancel_running"),
    "chaos.first": JobType(max_running_per_key=2, on_limit="drop_new"),
    "chaos.paced": JobType(rate=Rate(2, 5)),
    "chaos.short": JobType("test:chaos-short"),
    "chaos.parent": JobType("test:chaos-parent"),
    "chaos.waiting": JobType("test:chaos-waiting"),
}

Draw = Callable[[random.Random, int], dict[str, Any]]
"""Fields of a PlannedJob, for the job of this number."""


@dataclass(frozen=True)
class Kind:
    """How often a kind is submitted, and what its jobs are like."""

    weight: float
    draw: Draw


def _sleeping(dice: random.Random, least: float, most: float) -> dict[str, Any]:
    return {"sleep_sec": round(dice.uniform(least, most), 3)}


def _cancelled(dice: random.Random, _number: int) -> dict[str, Any]:
    return {
        "input": _sleeping(dice, 0, 4) | {"children": dice.choice((0, 0, 1)), "lines": 5},
        "cancel_after_sec": dice.choice((0.0, dice.uniform(0, 1), dice.uniform(0, 3))),
    }


def _dependent(dice: random.Random, number: int) -> dict[str, Any]:
    earlier = {dice.randrange(max(0, number - 20), number) for _ in range(dice.randint(1, 3))} if number else set()
    return {"after": tuple(earlier)}


def _keyed(type_: str, keys: int, least: float, most: float) -> Draw:
    def draw(dice: random.Random, _number: int) -> dict[str, Any]:
        return {
            "type": type_,
            "input": _sleeping(dice, least, most),
            "flow": {"concurrency_key": f"key-{dice.randrange(keys)}"},
        }

    return draw


def _paced(dice: random.Random, _number: int) -> dict[str, Any]:
    return {
        "type": "chaos.paced",
        "input": {"fail_first": dice.choice((0, 0, 1))},
        "flow": {"concurrency_key": f"key-{dice.randrange(2)}"},
    }


def _short(dice: random.Random, _number: int) -> dict[str, Any]:
    """One of those that share a message. Of a hundred one is not as short as it says."""
    return {
        "type": "chaos.short",
        "input": {
            "sleep_sec": 0.6 if dice.random() < 0.01 else 0,
            "fail_first": dice.choice((0, 0, 0, 1)),
            "lines": dice.choice((0, 0, 2)),
        },
        "priority": 5,
        "batched": dice.random() < 0.8,
    }


def _unique(policy: str, keys: int) -> Draw:
    def draw(dice: random.Random, _number: int) -> dict[str, Any]:
        key = f"{policy}-{dice.randrange(keys)}"
        unique = {"key": key, "window_sec": UNIQUE_WINDOW_SEC[policy], "policy": policy}
        return {"input": _sleeping(dice, 0, 1), "flow": {"unique": unique}}

    return draw


def _parent(dice: random.Random, _number: int) -> dict[str, Any]:
    """One or two phases of children that sleep, wait, fail and try again, or fail for good; some a client cancels."""
    phases = [[_child(dice) for _ in range(dice.randint(1, 4))] for _ in range(dice.randint(1, 2))]
    fate = dice.random()
    return {
        "type": "chaos.parent",
        "input": {"phases": phases, "collect": dice.random() < 0.6},
        "cancel_after_sec": dice.uniform(0, 3) if fate < 0.15 else None,
        "cancel_child_after_sec": dice.uniform(0, 2) if fate > 0.7 else None,
    }


def _child(dice: random.Random) -> dict[str, Any]:
    fails = dice.choices((0, 1, 99), (7, 2, 1))[0]
    return {
        "type": dice.choice((WORK, WORK, "chaos.waiting")),
        "input": _sleeping(dice, 0, 1.5) | {"fail_first": fails},
        "max_attempts": 2 if fails == 99 else 10,
    }


KINDS: dict[str, Kind] = {
    "no-op": Kind(30, lambda dice, _: {}),
    "short": Kind(30, _short),
    "sleeping": Kind(16, lambda dice, _: {"input": _sleeping(dice, 0.1, 3) | {"lines": dice.randrange(0, 30)}}),
    "flaky": Kind(14, lambda dice, _: {"input": {"fail_first": dice.randint(1, 3), "lines": 2, "sleep_sec": 0.02}}),
    "doomed": Kind(3, lambda dice, _: {"input": {"fail_first": 99}, "max_attempts": dice.randint(1, 3)}),
    "children": Kind(10, lambda dice, _: {"input": _sleeping(dice, 0, 0.5) | {"children": dice.randint(1, 3)}}),
    "cancelled": Kind(14, _cancelled),
    "dependent": Kind(11, _dependent),
    "stubborn": Kind(
        2,
        lambda dice, _: {
            "input": {"stubborn": True, "children": 1}, "max_attempts": dice.randint(1, 2), "timeout_sec": 1,
        },
    ),
    "waiting": Kind(
        10, lambda dice, _: {"type": "chaos.waiting", "input": _sleeping(dice, 0.1, 3) | {"lines": dice.randrange(10)}}
    ),
    "limited": Kind(4, lambda dice, _: {"type": "chaos.few", "input": _sleeping(dice, 0.2, 3)}),
    "narrow": Kind(3, lambda dice, _: {"queue": "narrow", "input": _sleeping(dice, 0.2, 3)}),
    "keyed": Kind(5, _keyed("chaos.keyed", 2, 0.2, 3)),
    "newest": Kind(4, _keyed("chaos.newest", 2, 0.5, 5)),
    "first": Kind(4, _keyed("chaos.first", 2, 0.5, 5)),
    "paced": Kind(4, _paced),
    "kept": Kind(3, _unique(KEEP, 2)),
    "replacing": Kind(3, _unique(REPLACE, 2)),
    "expiring": Kind(
        3,
        lambda dice, _: {
            "type": "chaos.single", "input": _sleeping(dice, 0.2, 3), "flow": {"expires_in_sec": dice.randint(1, 5)},
        },
    ),
    "parent": Kind(5, _parent),
}  # fmt: skip
"""By name; the weights sum up to 178."""
