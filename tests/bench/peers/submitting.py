"""What a submitter process is told on stdin and answers on stdout, one line each. Standard library only."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def serve(
    *,
    one: Callable[[], object],
    each: Callable[[int], object] | None = None,
    bulk: Callable[[int], object] | None = None,
) -> None:
    """Obey `one`, `each N` and `bulk N` until stdin ends. Answers `[before, after]`: monotonic ns around the call.

    one: submit a job. each: N jobs, a call each. bulk: N jobs in the largest calls the library has.
    """
    verbs: dict[str, Callable[[int], object]] = {"one": lambda _count: one()}
    verbs |= {name: verb for name, verb in (("each", each or _repeat(one)), ("bulk", bulk)) if verb is not None}
    print(json.dumps(sorted(verbs)), flush=True)
    for line in sys.stdin:
        name, _, count = line.partition(" ")
        verb = verbs[name.strip()]
        before = time.monotonic_ns()
        verb(int(count or 1))
        print(json.dumps([before, time.monotonic_ns()]), flush=True)


def _repeat(one: Callable[[], object]) -> Callable[[int], None]:
    def each(count: int) -> None:
        for _ in range(count):
            one()

    return each
