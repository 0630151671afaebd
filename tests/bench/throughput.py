"""No-op jobs a second, submit to terminal, beside a bare Celery no-op task: same Redis, same number of processes.

    python -m tests.bench.throughput [--jobs 2000] [--rounds 3] [--processes 2]

Uses DATABASE_URL and REDIS_URL. Prints one JSON object; the ratio of the medians is what counts, and only within one
run on one machine. Rows and log lines are all written; the servers' durability is theirs (`make bench` says it).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import redis

ROOT = Path(__file__).resolve().parents[2]
QUIET = ["--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]


@contextlib.contextmanager
def worker(app: str, processes: int, *options: str) -> Iterator[None]:
    """A Celery worker for the length of the block."""
    path = os.pathsep.join([str(ROOT / "tests" / "plugin"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "celery", "-A", app, "worker", *QUIET, *options]
    environment = {**os.environ, "PYTHONPATH": path, "WORKER_CONCURRENCY": str(processes)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def bare_round(count: int, broker: redis.Redis) -> float:
    """Seconds from the first publish to an empty queue."""
    from tests.bench.bare import noop

    started = time.perf_counter()
    for _ in range(count):
        noop.delay()
    while broker.llen("bare:bare") or broker.hlen("bare:unacked"):
        time.sleep(0.002)
    return time.perf_counter() - started


def job_round(count: int) -> float:
    """Seconds from the first submit to the last terminal state."""
    from jobs.models import Job, Status
    from jobs.submission import NewJob, submit_batch

    tag = f"bench-{time.time_ns()}"
    started = time.perf_counter()
    for start in range(0, count, 500):
        items = [NewJob(type="bench.noop", tags=(tag,)) for _ in range(min(500, count - start))]
        submit_batch(items, created_by="bench")
    # A cheap question, seldom asked: the poll must not be part of the load.
    while Job.objects.filter(finished_at=None).exists():
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    assert Job.objects.filter(tags__contains=[tag], status=Status.SUCCEEDED).count() == count
    return seconds


def ready(condition: Any, timeout_sec: float = 60) -> None:
    """Wait until `condition()`."""
    deadline = time.monotonic() + timeout_sec
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the worker did not come up")
        time.sleep(0.05)


def main() -> None:
    """Run both, alternating, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    sys.path[:0] = [str(ROOT / "tests" / "plugin"), str(ROOT)]
    django.setup()
    from django.core.management import call_command

    from jobs.models import Job, JobType, Node

    call_command("migrate", verbosity=0)
    JobType.objects.update_or_create(name="bench.noop", defaults={"handler": "test:noop"})
    broker = redis.Redis.from_url(os.environ["REDIS_URL"])
    rates: dict[str, list[float]] = {"bare_celery": [], "rauskuclaw": []}
    ours = ("--pool", "prefork", "--concurrency", str(options.processes), "-Q", "job:default", "-n", "bench@%h")
    bare = ("--pool", "prefork", "--concurrency", str(options.processes), "-Q", "bare", "-n", "bare@%h")
    for _ in range(options.rounds):
        Node.objects.all().delete()
        with worker("tests.bench.bare", options.processes, *bare):
            bare_round(50, broker)
            rates["bare_celery"].append(options.jobs / bare_round(options.jobs, broker))
        with worker("rauskuclaw", options.processes, *ours):
            ready(Node.objects.exists)
            job_round(50)
            rates["rauskuclaw"].append(options.jobs / job_round(options.jobs))
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    result = {
        "what": "no-op jobs a second, submit to terminal",
        "jobs": options.jobs,
        "processes": options.processes,
        "rates_per_sec": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        "median_per_sec": medians,
        "ratio": round(medians["rauskuclaw"] / medians["bare_celery"], 3),
        "finished_jobs_in_table": Job.objects.count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
