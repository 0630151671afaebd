"""Finished jobs with their logs are pruned while others run: what that does to how soon those start.

Rounds at rest and rounds beside `manage.py retention` take turns on the same tables; then the rest is pruned, with the
load on, or as much of it as END_SEC allow. All finished jobs are older than the policy says.
"""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench import history
from tests.bench.lab import Lab, own_python
from tests.bench.stack import DATABASE, Stack, prepare

QUICK, NORMAL, FULL = 10_000, 500_000, 5_000_000
PER_SEC = 300
END_SEC = 240
"""How long the pruning of what the rounds left may take."""
SERVICES = ("worker", "system", "beat")
# Of the jobs that a round submitted: from their row to their attempt's, both by Postgres' clock.
_STARTS = """
    SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms)
    FROM (
        SELECT EXTRACT(EPOCH FROM a.started_at - j.created_at)::float8 * 1000 AS ms
        FROM jobs_job AS j JOIN jobs_attempt AS a ON a.job_id = j.id AND a.number = 1
        WHERE j.type = 'bench.noop' AND j.created_at >= %s
    ) AS start
"""


def run(lab: Lab, *, quick: bool, full: bool = False) -> dict[str, Any]:
    """Measure. Milliseconds from a job's creation to its start; `pruned_per_sec`: jobs with all that is theirs."""
    count = QUICK if quick else FULL if full else NORMAL
    per_sec, seconds, rounds = (50, 4, 1) if quick else (PER_SEC, 20, 4)
    prepare(lab)
    with Stack.running(lab, only=SERVICES, RETENTION_ENABLED="0", RETENTION_JOB_DAYS="1") as ours:
        ours.database.execute("INSERT INTO jobs_jobtype (name, handler) VALUES ('bench.noop', 'test:noop')")
        ours.database.execute("UPDATE jobs_jobtype SET default_timeout_sec = 60")
        load_sec = _load(ours, lab, count)
        found: dict[str, list[dict[str, Any]]] = {"rest": [], "pruning": []}
        _round(ours, per_sec, seconds // 2)  # the first jobs of a worker find nothing warm
        for _ in range(rounds):
            found["rest"].append(_round(ours, per_sec, seconds))
            found["pruning"].append(_round(ours, per_sec, seconds, prune_sec=seconds))
            print(f"  {found['rest'][-1]}\n  {found['pruning'][-1]}", flush=True)
        left = _pruned_to_the_end(ours, per_sec)
        remaining = ours.one("SELECT count(*) FROM jobs_job WHERE type <> 'bench.noop'")
        lines = ours.one("SELECT count(*) FROM jobs_joblog WHERE job_created_at < now() - interval '2 days'")
        not_succeeded = ours.one("SELECT count(*) FROM jobs_job WHERE type = 'bench.noop' AND status <> 'succeeded'")
    lab.fresh_database(DATABASE)
    best = {name: min(one["p99_ms"] for one in some) for name, some in found.items()}
    middle = {name: sorted(one["p99_ms"] for one in some)[len(some) // 2] for name, some in found.items()}
    return {
        "jobs": count, "per_sec": per_sec, "seconds": seconds, "rounds": found, "load_sec": load_sec,
        "to_the_end": left, "remaining": remaining, "lines_left": lines, "not_succeeded": not_succeeded,
        "median_p99_ms": middle,
        "best_p99_ms": best, "p99_ratio": round(middle["pruning"] / middle["rest"], 2),
    }  # fmt: skip


def _load(ours: Stack, lab: Lab, count: int) -> float:
    """Finished jobs of the days before the last three, in the partitions that they would have made."""
    began = time.monotonic()
    newest = datetime.now(UTC) - timedelta(days=3)
    history.load(lab.database_url(DATABASE), count, before=newest, partitioned=True)
    lab.settle()
    print(f"  {count:,} finished jobs loaded in {time.monotonic() - began:.0f} s", flush=True)
    return round(time.monotonic() - began, 1)


def _round(ours: Stack, per_sec: int, seconds: int, *, prune_sec: int = 0) -> dict[str, Any]:
    pruner = _prune(ours, "--max-sec", str(prune_sec)) if prune_sec else None
    told = _submit(ours, per_sec, seconds).communicate()[0]
    removed = json.loads(pruner.communicate()[0]) if pruner else {}
    submitted = json.loads(told)
    ours.wait_terminal()
    row = ours.database.execute(_STARTS, [submitted["since"]]).fetchone()
    assert row is not None
    return {
        "jobs": row[0], "p50_ms": round(row[1], 2), "p99_ms": round(row[2], 2),
        "submitted_per_sec": submitted["per_sec"], "submitter_late_sec": submitted["latest_sec"], **_facts(removed),
    }  # fmt: skip


def _pruned_to_the_end(ours: Stack, per_sec: int) -> dict[str, Any]:
    """Under the same load. Jobs that are submitted here are not timed."""
    pruner = _prune(ours, "--max-sec", str(END_SEC))
    while pruner.poll() is None:
        _submit(ours, per_sec, 5).communicate()
    facts = _facts(json.loads(pruner.communicate()[0]))
    ours.wait_terminal()
    print(f"  to the end: {facts}", flush=True)
    return facts


def _prune(ours: Stack, *arguments: str) -> subprocess.Popen[str]:
    command = own_python("manage.py", "retention", "--json", *arguments)
    return subprocess.Popen(command, env=ours.env, stdout=subprocess.PIPE, text=True)


def _submit(ours: Stack, per_sec: int, seconds: int) -> subprocess.Popen[str]:
    command = own_python("-m", "tests.bench.retention_probe", str(per_sec), str(seconds))
    return subprocess.Popen(command, env=ours.env, stdout=subprocess.PIPE, text=True)


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    if not answer:
        return {}
    removed, took_sec = answer["removed"], answer["took_sec"]
    return {
        "removed": removed, "took_sec": took_sec, "more": answer["more"],
        "pruned_per_sec": round(removed.get("jobs", 0) / max(took_sec, 0.1)),
    }  # fmt: skip
