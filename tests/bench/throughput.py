"""No-op jobs a second, and how long a submitted job waits for its start: RauskuClaw beside its peers.

In each round every contender's workers are started anew, on empty queues, in an order that rotates. A rate is jobs
divided by the time from the first submitting call to the last job's end. A latency is one job on idle workers, from
before the submitting call to the first line of the handler; the pauses between are random, so that no poller is met in
step.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg

from rauskuclaw.config import ROOT
from tests.bench import stack
from tests.bench.contenders import BARE_TABLE, CONTENDERS, PEERS, Running, environment
from tests.bench.lab import Lab, peers_python
from tests.bench.marks import Marks
from tests.bench.stats import median, percentile

PAUSE_SEC = (0.010, 0.040)


def run(lab: Lab, *, quick: bool, rounds: int | None = None, only: Sequence[str] = ()) -> dict[str, Any]:
    """Measure. Returns rates and latencies, raw and as medians."""
    rounds, jobs, singles = (1, 500, 50) if quick else (rounds or 5, 5000, 300)
    marks = Marks(lab.folder / "marks")
    marks.path.chmod(0o666)
    stack.prepare(lab)
    _peers_databases(lab, marks)
    rates: dict[str, list[float]] = defaultdict(list)
    waits: dict[str, list[dict[str, float]]] = defaultdict(list)
    names = list(only or CONTENDERS)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            lab.settle()
            with CONTENDERS[name].running(lab, marks) as running:
                for verb in ("bulk", "each"):
                    if verb in running.submitter.verbs:
                        rates[f"{name}/{verb}"].append(_rate(running, verb, jobs))
                waits[name].append(_wait(running, marks, singles))
            print(
                f"  round {number + 1}: {name}",
                {v: r[-1] for v, r in rates.items() if v.startswith(f"{name}/")},
                waits[name][-1],
            )
    return {
        "rounds": rounds,
        "jobs": jobs,
        "single_jobs": singles,
        "contenders": {name: {"title": CONTENDERS[name].title, "setting": CONTENDERS[name].setting} for name in names},
        "rates_per_sec": dict(rates),
        "median_per_sec": {name: median(values) for name, values in rates.items()},
        "start_ms": dict(waits),
        "median_start_ms": {
            name: {key: median([value[key] for value in values]) for key in values[0]} for name, values in waits.items()
        },
    }


def _rate(running: Running, verb: str, jobs: int) -> float:
    running.forget()
    before, _ = running.submitter.tell(verb, jobs)
    return round(jobs / (running.wait_done(jobs) - before) * 1e9, 1)


def _wait(running: Running, marks: Marks, count: int) -> dict[str, float]:
    """p50 and p99 in ms, from before and from after the submitting call. The latter is below 0 where the job starts
    before the submitter has returned."""
    luck = random.Random(7)
    running.forget()
    calls = []
    for number in range(count):
        calls.append(running.submitter.tell("one"))
        marks.wait_for(number + 1)
        time.sleep(luck.uniform(*PAUSE_SEC))
    running.wait_done(count)
    from_call = [(start - before) / 1e6 for (before, _), start in zip(calls, marks.moments(), strict=True)]
    from_return = [(start - after) / 1e6 for (_, after), start in zip(calls, marks.moments(), strict=True)]
    return {
        "p50": round(percentile(from_call, 50), 3),
        "p99": round(percentile(from_call, 99), 3),
        "p50_after_return": round(percentile(from_return, 50), 3),
        "p99_after_return": round(percentile(from_return, 99), 3),
    }


def _peers_databases(lab: Lab, marks: Marks) -> None:
    with psycopg.connect(lab.fresh_database("bare")) as connection:
        connection.execute(BARE_TABLE)
    lab.fresh_database("procrastinate")
    subprocess.run(
        peers_python("-m", f"{PEERS}.procrastinate_submit", "schema"),
        env=environment(lab, marks),
        cwd=ROOT,
        check=True,
    )
