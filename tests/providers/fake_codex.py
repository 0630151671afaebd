#!/usr/bin/env python3
"""Stands in for the Codex program: notes how it was started, and does what `codex.json` beside its directory says.

`codex.json`: a list of runs, each `{"lines": [...], "exit": 0, "stderr": "", "sleep": 0}`; the last one is repeated.
"""

import json
import os
import sys
import time
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--cd") + 1])
seen = folder / "seen.jsonl"
number = len(seen.read_text().splitlines()) if seen.exists() else 0
with seen.open("a") as file:
    file.write(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}) + "\n")
runs = json.loads((folder / "codex.json").read_text())
run = runs[min(number, len(runs) - 1)]
for line in run.get("lines", []):
    sys.stdout.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    sys.stdout.flush()
sys.stderr.write(run.get("stderr", ""))
time.sleep(run.get("sleep", 0))
sys.exit(run.get("exit", 0))
