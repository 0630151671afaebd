"""`python -m tests.chaos [--jobs N] [--seed N] [--report docs]`: what `make chaos` runs. Exit code 1 on a violation."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from rauskuclaw.config import ROOT
from tests.chaos.report import write_report
from tests.chaos.run import run

SHOWN = 30


def main() -> int:
    """Run, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, which is printed")
    parser.add_argument("--report", type=Path, default=None, help="folder for chaos-report.md and its picture")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = ROOT / "var" / "chaos" / str(seed)
    outcome = run(jobs=options.jobs, seed=seed, folder=folder, say=lambda text: print(text, flush=True))
    for finding in outcome.findings[:SHOWN]:
        print(f"✗ {finding}")
    print(f"{len(outcome.findings)} violations; history, rows, ledger and log are in {folder.relative_to(ROOT)}")
    if options.report:
        write_report(outcome, options.report)
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
