"""Claim and list latency while finished jobs pile up, and the plan of every statement at the largest size.

The tables are the real ones, migrated, in a database that is deleted afterwards.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from rauskuclaw.config import ROOT
from tests.bench import history, stack
from tests.bench.lab import Lab, own_python

QUICK, NORMAL, FULL = (2_000, 20_000), (10_000, 1_000_000), (10_000, 1_000_000, 5_000_000)


class PlanFault(RuntimeError):
    """A plan scans or sorts without bound: it does not hold when the tables grow."""


def run(lab: Lab, *, quick: bool, full: bool = False) -> dict[str, Any]:
    """Measure at each size. `faults` in the result: the plans that do not hold."""
    sizes, repeats = (QUICK if quick else FULL if full else NORMAL), (20 if quick else 200)
    stack.prepare(lab)
    url = lab.database_url(stack.DATABASE)
    found: dict[str, Any] = {}
    there = 0
    for size in sizes:
        history.load(url, size - there)
        there = size
        lab.settle()
        done = subprocess.run(
            own_python("-m", "tests.bench.growth_probe", str(repeats)), cwd=ROOT, env=stack.environment(lab),
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        found[str(size)] = json.loads(done.stdout)
        print(f"  {size:,} finished jobs:", {name: use["p50_ms"] for name, use in found[str(size)].items()})
    lab.fresh_database(stack.DATABASE)
    largest = found[str(sizes[-1])]
    return {
        "sizes": list(sizes),
        "repeats": repeats,
        "ms": {
            name: {size: {key: uses[name][key] for key in ("p50_ms", "p99_ms")} for size, uses in found.items()}
            for name in largest
        },
        "plans": {name: use["plans"] for name, use in largest.items()},
        "faults": {
            f"{name} at {size}": plan["faults"]
            for size, uses in found.items()
            for name, use in uses.items()
            for plan in use["plans"]
            if plan["faults"]
        },
    }
