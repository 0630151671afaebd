"""50,000 schedules, 1,000 due each second, and two tickers at once, as two beats would have it.

Half of what is due comes of intervals, half of cron expressions in a zone with summer time. No worker runs: the jobs
wait, as they do while workers are busy with others.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import psycopg

from tests.bench import stack
from tests.bench.lab import Lab, own_python
from tests.bench.stats import percentile

TICKERS = 2
INTERVAL_SEC, CRON_SEC = 40, 60
ZONE = "Europe/Helsinki"
_COLUMNS = "id, type, input, timeout_sec, max_attempts, tags, flow, interval_sec, cron, time_zone, due_at, next_run_at"
_INTERVALS = f"""
    INSERT INTO schedules_schedule ({_COLUMNS}, queue, priority, enabled)
    SELECT gen_random_uuid(), 'report.generate', '{{"title": "Nightly build"}}', 60, 1, '{{bench}}', '{{}}',
        {INTERVAL_SEC}, NULL, '', at, at, 'default', 5, true
    FROM (SELECT now() + make_interval(secs => n::float8 * {INTERVAL_SEC} / %(count)s) AS at
          FROM generate_series(1, %(count)s) AS n) AS due
"""
_CRONS = f"""
    INSERT INTO schedules_schedule ({_COLUMNS}, queue, priority, enabled)
    SELECT gen_random_uuid(), 'report.generate', '{{"title": "Nightly build"}}', 60, 1, '{{bench}}', '{{}}',
        NULL, second || ' * * * * *', '{ZONE}', at, at, 'default', 5, true
    FROM (SELECT n %% {CRON_SEC} AS second,
              date_trunc('minute', now()) + make_interval(mins => 1, secs => n %% {CRON_SEC}) AS at
          FROM generate_series(1, %(count)s) AS n) AS due
"""


def run(lab: Lab, *, quick: bool) -> dict[str, Any]:
    """Measure. Milliseconds a tick; `late_sec`: how long what a tick found had been due at most."""
    per_sec, seconds = (100, 5) if quick else (1_000, 20)
    stack.prepare(lab)
    url = lab.database_url(stack.DATABASE)
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(_INTERVALS, {"count": per_sec * INTERVAL_SEC // 2})
        database.execute(_CRONS, {"count": per_sec * CRON_SEC // 2})
        database.execute("VACUUM ANALYZE schedules_schedule")
    lab.settle()
    # The cron ones begin with the next minute: the tickers are there before it.
    command = own_python("-m", "tests.bench.schedules_probe", str(seconds))
    tickers = [
        subprocess.Popen(command, env=stack.environment(lab), stdout=subprocess.PIPE, text=True) for _ in range(TICKERS)
    ]
    ticks = [json.loads(line) for ticker in tickers for line in ticker.communicate(timeout=300)[0].splitlines()]
    if any(ticker.returncode for ticker in tickers):
        raise RuntimeError("a ticker failed")
    with psycopg.connect(url) as database:
        facts = database.execute(
            "SELECT (SELECT count(*) FROM schedules_schedule), (SELECT count(*) FROM jobs_job),"
            " (SELECT count(*) FROM schedules_run), (SELECT count(*) FROM (SELECT schedule_id FROM schedules_run"
            "   GROUP BY schedule_id, due_at HAVING count(*) > 1) AS twice),"
            " (SELECT count(*) FROM schedules_schedule WHERE last_error IS NOT NULL)"
        ).fetchone()
    lab.fresh_database(stack.DATABASE)
    assert facts is not None
    took, late = [tick["ms"] for tick in ticks], [tick["late_sec"] for tick in ticks]
    busiest = max(ticks, key=lambda tick: float(tick["ms"]))
    print(f"  {len(ticks)} ticks, p50 {percentile(took, 50):.0f} ms, longest {busiest['ms']:.0f} ms")
    return {
        **dict(zip(("schedules", "jobs", "runs", "twice", "faults"), facts, strict=True)),
        "due_per_sec": per_sec, "seconds": seconds, "tickers": TICKERS, "ticks": ticks,
        "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99), "max_ms": busiest["ms"],
        "busiest": busiest, "max_late_sec": max(late),
    }  # fmt: skip
