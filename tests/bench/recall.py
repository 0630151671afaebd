"""Memory search: its recall and its speed, beside bare SQL on the same rows and the same HNSW index, in many scopes.

Half of the rows are in one scope; the others in scopes of a twentieth of them, of a two-hundredth and of a
two-thousandth. `--full` has a million rows.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from rauskuclaw.config import ROOT
from tests.bench import stack
from tests.bench.lab import Lab, own_python

QUICK, NORMAL, FULL = (5_000,), (100_000,), (100_000, 1_000_000)


def run(lab: Lab, *, quick: bool, full: bool) -> dict[str, Any]:
    """Measure at each size. `ms` are p50 and p99 of a search; `speed`: bare SQL's p50 by ours."""
    queries = 40 if quick else 300
    sizes: dict[str, Any] = {}
    for rows in QUICK if quick else FULL if full else NORMAL:
        stack.prepare(lab)
        done = subprocess.run(
            own_python("-m", "tests.bench.recall_probe", str(rows), str(queries)), cwd=ROOT,
            env=stack.environment(lab), stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        sizes[str(rows)] = found = json.loads(done.stdout)
        for case in found["cases"]:
            print(
                f"  {rows:,} rows, {case['what']}: recall {case['recall']:.4f}, p50 {case['ours_ms']['p50']:.2f} ms,"
                f" bare {case['bare_ms']['p50']:.2f} ms, {case['speed']:.2f} of its speed"
            )
    lab.fresh_database(stack.DATABASE)
    return {"queries": queries, "sizes": sizes}
