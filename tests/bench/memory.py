"""Memory: does it grow while the stack works, and what does one more concurrent job cost?

The soak keeps a steady load on every part: jobs of several kinds over HTTP, lists and live streams. Memory is sampled
each second; the first part of the run, when caches fill, is left out. What is fitted is private memory (USS): shared
pages of forked processes would be counted twice. A slope comes with its 95 % interval, and a short run has a wide one:
it can show a fast leak and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import psutil

from tests.bench import stack
from tests.bench.lab import Lab, eventually
from tests.bench.stack import API_KEY, Stack
from tests.bench.stats import slope

WARM_UP_SHARE = 0.25
JOBS_PER_SEC = 10.0
CONCURRENCIES = (2, 8, 16)
PATHS = ("/v1/jobs", "/v1/jobs?status=failed", "/v1/jobs?q=night", "/v1/job-types", "/ready")
BODIES: tuple[dict[str, Any], ...] = (
    {"type": "bench.noop", "tags": ["soak"]},
    {"type": "bench.sleep", "input": {"sleep_sec": 0.05}, "tags": ["soak", "nightly"]},
    {"type": "bench.async", "input": {"path": "/dev/null", "sleep_sec": 0.5}},
    {"type": "report.generate", "input": {"title": "Soak", "metrics": {"visits": 42}}},
)


def run(lab: Lab, *, quick: bool, full: bool = False) -> dict[str, Any]:
    """Measure: the soak, then the cost of a concurrent job."""
    minutes = 30.0 if full else 2.0 if quick else 10.0
    stack.prepare(lab)
    with Stack.running(lab, WORKER_CONCURRENCY="2") as ours:
        soak = _soak(ours, minutes * 60)
    return {"minutes": minutes, "jobs_per_sec": JOBS_PER_SEC, "soak": soak, "concurrency": _concurrency(lab)}


def _soak(ours: Stack, seconds: float) -> dict[str, Any]:
    for name, handler in (
        ("bench.noop", "test:noop"),
        ("bench.sleep", "test:sleep"),
        ("bench.async", "test:async-ledger"),
    ):
        ours.make_type(name, handler)
    over = threading.Event()
    clients = [threading.Thread(target=client, args=(ours, over), daemon=True) for client in (_submit, _read, _follow)]
    for client in clients:
        client.start()
    watched = {name: psutil.Process(ours.processes[name].pid) for name in ("web", "worker", "io", "system", "beat")}
    times: list[float] = []
    private: dict[str, list[float]] = {name: [] for name in (*watched, "pool process")}
    resident = {name: process.memory_info().rss / 2**20 for name, process in watched.items()}
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        times.append(now)
        for name, process in watched.items():
            private[name].append(process.memory_full_info().uss / 1024)
        pool = watched["worker"].children()
        private["pool process"].append(sum(child.memory_full_info().uss for child in pool) / 1024 / len(pool))
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began - now)))
    over.set()
    for client in clients:
        client.join(30)
    ours.wait_terminal()
    kept = [number for number, moment in enumerate(times) if moment >= seconds * WARM_UP_SHARE]
    return {
        "seconds_fitted": round(times[-1] - times[kept[0]]),
        "jobs": ours.one("SELECT count(*) FROM jobs_job"),
        "resident_mib_at_start": {name: round(mib, 1) for name, mib in resident.items()},
        "private_mib": {
            name: [round(kib / 1024, 2) for kib in values[:: max(1, len(values) // 200)]]
            for name, values in private.items()
        },
        "kib_per_hour": {
            name: vars(slope([times[n] for n in kept], [values[n] for n in kept])) for name, values in private.items()
        },
    }


def _submit(ours: Stack, over: threading.Event) -> None:
    for number in itertools.count():
        if over.wait(1 / JOBS_PER_SEC):
            return
        with contextlib.suppress(OSError):
            ours.call("POST", "/v1/jobs", BODIES[number % len(BODIES)])


def _read(ours: Stack, over: threading.Event) -> None:
    for path in itertools.cycle(PATHS):
        if over.wait(0.2):
            return
        with contextlib.suppress(OSError):
            ours.call("GET", path)


def _follow(ours: Stack, over: threading.Event) -> None:
    """One live stream after the other, each to the end of its job."""
    while not over.wait(0.2):
        with contextlib.suppress(OSError):
            job = ours.call("POST", "/v1/jobs", BODIES[1])["job"]
            url = f"http://127.0.0.1:{ours.port}/v1/jobs/{job['id']}/stream"
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={"x-api-key": API_KEY}), timeout=30
            ) as events:
                events.read()


def _concurrency(lab: Lab) -> dict[str, Any]:
    """What the whole job worker takes while it runs so many jobs: proportional memory, so shared pages count once."""
    found = {}
    for jobs in CONCURRENCIES:
        with Stack.running(lab, only=("worker", "web"), WORKER_CONCURRENCY=str(jobs)) as ours:
            ours.make_type("bench.sleep", "test:sleep")
            body = {"type": "bench.sleep", "input": {"sleep_sec": 8}}
            ours.call("POST", "/v1/jobs/batch", {"jobs": [body] * jobs})
            running = "SELECT count(*) FROM jobs_job WHERE status = 'running'"
            eventually(lambda: ours.one(running) == jobs, what=f"{jobs} jobs to run")  # noqa: B023
            worker = psutil.Process(ours.processes["worker"].pid)
            tree = [worker, *worker.children(recursive=True)]
            found[str(jobs)] = {
                "worker_mib": round(sum(process.memory_full_info().pss for process in tree) / 2**20, 1),
                "resident_mib_of_a_process": round(
                    sum(process.memory_info().rss for process in tree[1:]) / 2**20 / max(1, len(tree) - 1), 1
                ),
            }
    most, least = str(CONCURRENCIES[-1]), str(CONCURRENCIES[0])
    step = CONCURRENCIES[-1] - CONCURRENCIES[0]
    return {
        "by_jobs": found,
        "mib_a_job": round((found[most]["worker_mib"] - found[least]["worker_mib"]) / step, 1),
    }
