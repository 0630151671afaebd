"""The process that times the uses of tests/bench/uses.py and takes their plans: prints one JSON object."""

from __future__ import annotations

import json
import os
import sys
import time

import django

from tests.bench.stats import percentile


def main() -> None:
    """Argument: how often to repeat each use."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    django.setup()
    from tests.bench.plans import captured
    from tests.bench.uses import Uses

    repeats = int(sys.argv[1])
    found = {}
    for name, use in Uses(repeats=repeats).all().items():
        with captured() as plans:
            use()
        took = []
        for _ in range(repeats):
            began = time.perf_counter()
            use()
            took.append((time.perf_counter() - began) * 1000)
        found[name] = {
            "p50_ms": round(percentile(took, 50), 3),
            "p99_ms": round(percentile(took, 99), 3),
            "plans": [{"statement": plan.statement, "plan": plan.text(), "faults": plan.faults()} for plan in plans],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
