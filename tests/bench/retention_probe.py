"""Submits jobs evenly, a call each, whatever becomes of them: so many a second for so long. Prints a JSON line.

Arguments: jobs a second, seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time

import django


def main() -> None:
    """Submit."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    django.setup()
    from django.db import connection

    from jobs.requests import NewJob
    from jobs.submission import submit

    per_sec, seconds = (int(argument) for argument in sys.argv[1:3])
    new = NewJob(type="bench.noop")
    submit(new, created_by="bench")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()::text")
        since = cursor.fetchone()[0]
    began, latest = time.monotonic(), 0.0
    for number in range(per_sec * seconds):
        due = began + number / per_sec
        time.sleep(max(0.0, due - time.monotonic()))
        submit(new, created_by="bench")
        latest = max(latest, time.monotonic() - due)
    took = time.monotonic() - began
    print(json.dumps({"since": since, "per_sec": round(per_sec * seconds / took, 1), "latest_sec": round(latest, 3)}))


if __name__ == "__main__":
    main()
