"""`python -m tests.bench [names] [--quick | --full] [--out FOLDER]`: measure, keep the raw JSON, write the page.

Names: throughput, posts, live, waiting, growth, schedules, retention, memory, recall; all of them without one. `--page`
writes the page anew from the JSON that is there. A quick run's results go to var/bench: it proves that everything runs
and shows what is grossly wrong.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rauskuclaw.config import ROOT
from tests.bench import growth, io, live, machine, memory, page, posts, recall, retention, schedules, throughput
from tests.bench.lab import Lab

NAMES = ("throughput", "posts", "live", "waiting", "growth", "schedules", "retention", "memory", "recall")


def main() -> int:
    """The exit code: 1 when a plan does not hold, a line was lost or a due time ran twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="short rounds, small tables, a soak of 2 minutes")
    parser.add_argument("--full", action="store_true", help="5 million jobs, a million memories, a soak of 30 minutes")
    parser.add_argument("--rounds", type=int, help="of throughput, posts and live; 5, and 3 of live, without it")
    parser.add_argument("--page", action="store_true", help="only write the page from the JSON that is there")
    parser.add_argument("--out", type=Path, help="where the JSON and the charts go; the page goes beside that folder")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    out: Path = options.out or (
        ROOT / "var" / "bench" / "benchmarks" if options.quick else ROOT / "docs" / "benchmarks"
    )
    out.mkdir(parents=True, exist_ok=True)
    # Ended from outside, the servers must go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    faults: list[str] = []
    for name in () if options.page else options.names or NAMES:
        faults += _measure(name, out, quick=options.quick, full=options.full, rounds=options.rounds)
    print(f"page: {page.write(out)}")
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _measure(name: str, out: Path, *, quick: bool, full: bool, rounds: int | None) -> list[str]:
    """One benchmark on servers of its own; its JSON. Returns what makes the run fail."""
    print(f"{name}:", flush=True)
    began = time.monotonic()
    with Lab() as lab:
        about = machine.describe(lab)
        try:
            result = _run(name, lab, quick=quick, full=full, rounds=rounds)
        except Exception:
            print(lab.logs(), file=sys.stderr)
            raise
    whole = {
        "benchmark": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_sec": round(time.monotonic() - began),
        "quick": quick,
        "full": full,
        "machine": about,
        "result": result,
    }
    (out / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    return _faults(name, result)


def _run(name: str, lab: Lab, *, quick: bool, full: bool, rounds: int | None) -> dict[str, Any]:
    match name:
        case "throughput":
            return throughput.run(lab, quick=quick, rounds=rounds)
        case "posts":
            return posts.run(lab, quick=quick, rounds=rounds)
        case "live":
            return live.run(lab, quick=quick, rounds=rounds)
        case "waiting":
            return io.run(quick=quick)
        case "growth":
            return growth.run(lab, quick=quick, full=full)
        case "schedules":
            return schedules.run(lab, quick=quick)
        case "retention":
            return retention.run(lab, quick=quick, full=full)
        case "recall":
            return recall.run(lab, quick=quick, full=full)
        case _:
            return memory.run(lab, quick=quick, full=full)


def _faults(name: str, result: dict[str, Any]) -> list[str]:
    if name == "growth":
        return [f"{use}: {'; '.join(faults)}" for use, faults in result["faults"].items()]
    if name == "schedules":
        return [f"{result['twice']} due times made two jobs"] if result["twice"] else []
    if name == "retention":
        is_over = not result["to_the_end"]["more"]
        left = {"finished jobs": result["remaining"], "lines of them": result["lines_left"]} if is_over else {}
        faults = [f"{number} {what} were left" for what, number in left.items() if number]
        return faults + ([f"{result['not_succeeded']} new jobs did not succeed"] if result["not_succeeded"] else [])
    if name == "live":
        return [f"{scene['title']}: {scene['lost']} lines lost" for scene in result["scenes"].values() if scene["lost"]]
    return []


if __name__ == "__main__":
    sys.exit(main())
