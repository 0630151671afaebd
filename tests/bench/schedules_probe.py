"""One ticker: rings the tick each second, as beat does, and prints a JSON line a tick."""

from __future__ import annotations

import json
import os
import sys
import time

import django


def main() -> None:
    """Argument: how many seconds, counted from the next whole minute of the clock."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    django.setup()
    from schedules.dispatch import tick

    tick()
    seconds = int(sys.argv[1])
    begin = time.time() // 60 * 60 + 60
    while time.time() < begin - 1:
        tick()
        time.sleep(0.2)
    for number in range(seconds):
        time.sleep(max(0.0, begin + number - time.time()))
        began = time.perf_counter()
        done = tick()
        took_ms = (time.perf_counter() - began) * 1000
        print(json.dumps({"ms": round(took_ms, 1), "jobs": done.jobs, "late_sec": round(done.late_sec, 3)}), flush=True)


if __name__ == "__main__":
    main()
