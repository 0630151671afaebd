"""Writes the logs of many running jobs, with the statement a worker writes with.

200 jobs that run at once take 200 worker processes, more than a laboratory has. Here eight threads claim them and write
each line as it comes, a statement and a commit each: a line's delay is counted from before that statement. Told on
stdin (a JSON line: ids of queued, published jobs; lines; interval_sec), it says `{"claimed": n}`, waits for a line,
writes, ends the jobs, and says `{"written": n, "seconds": s}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import django

THREADS = 8


def main() -> None:
    """Serve one specification a line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    django.setup()
    for line in sys.stdin:
        _serve(json.loads(line))


def _serve(spec: dict[str, Any]) -> None:
    from jobs import lifecycle
    from jobs.transitions import Claimable

    claims = [lifecycle.claim(Claimable(uuid.UUID(job_id), 0, "bench", None, lease_sec=3600)) for job_id in spec["ids"]]
    running = [claim for claim in claims if claim is not None]
    print(json.dumps({"claimed": len(running)}), flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    shares = [running[start::THREADS] for start in range(min(THREADS, len(running)))]
    with ThreadPoolExecutor(len(shares)) as threads:
        for done in [threads.submit(_write, share, spec["lines"], spec["interval_sec"], began) for share in shares]:
            done.result()
    seconds = time.monotonic() - began
    for claim in running:
        lifecycle.succeed(claim.id, claim.fence, result={})
    print(json.dumps({"written": spec["lines"] * len(running), "seconds": round(seconds, 3)}), flush=True)


def _write(claims: list[Any], lines: int, interval_sec: float, began: float) -> None:
    """Lines for some jobs, evenly over the interval: workers do not write in step."""
    from django.db import connection

    from jobs import lifecycle
    from jobs.storable import log_line

    due = began
    for number in range(lines):
        for claim in claims:
            time.sleep(max(0.0, due - time.monotonic()))
            record = log_line(number, str(time.monotonic_ns()), "info", None, datetime.now(UTC))
            lifecycle.append_attempt_logs(claim.id, claim.fence, [record])
            due += interval_sec / len(claims)
    connection.close()


if __name__ == "__main__":
    main()
