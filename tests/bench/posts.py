"""`POST /v1/jobs` and `/v1/jobs/batch` beside bare Django views on the same web server, under 1, 16, 64 connections.

No worker runs: this is what accepting costs. Three web processes are up at once and take turns, so that all see the
same machine; only one is asked at a time. The bare view is there twice: on uvicorn and a2wsgi as they come, which is
the yardstick, and on RauskuClaw's own bridge, which shows what the bridge gives and what is left of the difference.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from dataclasses import replace
from typing import Any

import psutil
import psycopg

from tests.bench import stack
from tests.bench.contenders import BARE_TABLE, bare_web, wait_for_port
from tests.bench.lab import Lab, free_port, own_python
from tests.bench.loadgen import Load
from tests.bench.stack import API_KEY, Stack
from tests.bench.stats import median

CONNECTIONS = (1, 16, 64)
BATCH = 100
JOB = {"type": "bench.mark", "input": {"title": "Nightly build", "tests": 412}, "tags": ["bench"]}
BATCH_CONNECTIONS = (1, 16)


def run(lab: Lab, *, quick: bool, rounds: int | None = None) -> dict[str, Any]:
    """Measure. Rates are requests a second; for batches, jobs a second."""
    rounds, seconds = (1, 2.0) if quick else (rounds or 5, 5.0)
    stack.prepare(lab)
    with psycopg.connect(lab.fresh_database("bare")) as connection:
        connection.execute(BARE_TABLE)
    port, bridged_port = free_port(), free_port()
    env = stack.environment(lab, BARE_URL=lab.database_url("bare"))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with (
        Stack.running(lab, only=("web",)) as ours,
        lab.process("bare-web", bare_web(port, "plain"), env) as bare,
        lab.process("bare-bridged-web", bare_web(bridged_port), env) as bridged,
        lab.process("loadgen", own_python("-m", "tests.bench.loadgen"), env, pipes=True) as process,
    ):
        wait_for_port(port)
        wait_for_port(bridged_port)
        ours.make_type("bench.mark", "test:mark")
        generator = Generator(process)
        loads = _loads(ours.port, port, bridged_port)
        processes = {ours.port: ours.processes["web"], port: bare, bridged_port: bridged}
        for load in loads.values():
            generator.send(replace(load, connections=16, seconds=1.0))
            _empty(lab, ours)
        for number in range(rounds):
            for connections in CONNECTIONS:
                names = [name for name in loads if "batch" not in name or connections in BATCH_CONNECTIONS]
                for name in names if number % 2 else reversed(names):
                    web = processes[loads[name].port]
                    meters = {"web": _Meter(web.pid), "postgres": _Meter(lab.process_of["postgres"].pid)}
                    outcome = generator.send(replace(loads[name], connections=connections, seconds=seconds))
                    for part, meter in meters.items():
                        outcome[f"{part}_cpu_ms"] = round(meter.seconds() * 1000 / outcome["requests"], 3)
                    found[f"{name}/{connections}"].append(outcome)
                    _empty(lab, ours)
                    print(f"  round {number + 1}: {name}, {connections} connections: {outcome['per_sec']:.0f} a second")
    medians = {name: {key: median([one[key] for one in many]) for key in many[0]} for name, many in found.items()}
    return {
        "rounds": rounds, "seconds": seconds, "batch": BATCH, "outcomes": dict(found), "median": medians,
        "ratio": {
            f"{name}/{connections}": round(
                medians[f"{ours_}/{connections}"]["per_sec"] / medians[f"{yardstick}/{connections}"]["per_sec"], 3
            )
            for name, ours_, yardstick in (
                ("rauskuclaw", "rauskuclaw", "bare"),
                ("rauskuclaw_to_bridged", "rauskuclaw", "bare_bridged"),
                ("rauskuclaw_batch", "rauskuclaw_batch", "bare_batch"),
            )
            for connections in (BATCH_CONNECTIONS if "batch" in name else CONNECTIONS)
        },
    }  # fmt: skip


class _Meter:
    """CPU time of a process and its children: what a request costs, however busy the machine is besides."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._used()

    def seconds(self) -> float:
        """Used since this was made."""
        return self._used() - self._before

    def _used(self) -> float:
        times = [self._process.cpu_times()]
        for child in self._process.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # an autovacuum worker that has just ended
                times.append(child.cpu_times())
        # What children used that have ended is in their parent's account.
        ended = self._process.cpu_times()
        return sum(one.user + one.system for one in times) + ended.children_user + ended.children_system


class Generator:
    """The load generator's process."""

    def __init__(self, process: Any) -> None:
        self._in, self._out = process.stdin, process.stdout

    def send(self, load: Load) -> dict[str, Any]:
        """Send a load and wait for its outcome. Raises RuntimeError when anything was refused."""
        self._in.write(load.as_line())
        self._in.flush()
        line = self._out.readline()
        if not line:
            raise RuntimeError("the load generator died")
        outcome: dict[str, Any] = json.loads(line)
        if outcome["refused"]:
            raise RuntimeError(f"{load.path}: {outcome['refused']} of {outcome['requests']} requests were refused")
        return outcome


def _loads(ours: int, bare: int, bridged: int) -> dict[str, Load]:
    one, many = json.dumps(JOB), json.dumps({"jobs": [JOB] * BATCH})
    key = {"x-api-key": API_KEY}
    return {
        "bare": Load(bare, "/rows", one),
        "bare_bridged": Load(bridged, "/rows", one),
        "rauskuclaw": Load(ours, "/v1/jobs", one, key),
        "bare_batch": Load(bare, "/rows/batch", many),
        "rauskuclaw_batch": Load(ours, "/v1/jobs/batch", many, key),
    }


def _empty(lab: Lab, ours: Stack) -> None:
    """Every load meets empty tables and an empty window."""
    ours.clear_jobs(check=False)
    with psycopg.connect(lab.database_url("bare"), autocommit=True) as connection:
        connection.execute("TRUNCATE bare_row")
    with lab.redis() as client:
        client.flushall()
