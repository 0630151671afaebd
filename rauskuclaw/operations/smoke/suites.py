"""Which suites there are, and running one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from rauskuclaw.operations.smoke import m1, m3, m4
from rauskuclaw.operations.smoke.api import Api
from rauskuclaw.operations.smoke.options import Options
from rauskuclaw.operations.smoke.steps import Failed, Steps

REQUEST_TIMEOUT_SEC = 30.0


@dataclass(frozen=True)
class Suite:
    """A suite: what it shows, how many steps it has."""

    shows: str
    steps: int
    run: Callable[[Api, Steps, Options], None]


SUITES = {
    "m1": Suite("jobs: idempotency, retries, callbacks", 6, m1.run),
    "m3": Suite("chat jobs and their providers", 5, m3.run),
    "m4": Suite("memory, schedules, chat write-back", 6, m4.run),
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. failure: why it did not pass, empty when it did. hint: what to do then."""

    steps: list[dict[str, Any]]
    skipped: int
    failure: str = ""
    hint: str = ""


def run(suite: Suite, options: Options, steps: Steps, *, header: str) -> Outcome:
    """Run a suite against the server. Whatever it changed is put back before this returns or raises (Ctrl-C too).

    header: name of the header that carries the key.
    """
    headers = {header: options.key} if options.key else {}
    failure = hint = ""
    with httpx.Client(base_url=options.api, headers=headers, timeout=REQUEST_TIMEOUT_SEC, trust_env=False) as http:
        undo = ExitStack()
        api = Api(http, undo)
        try:
            with undo:
                suite.run(api, steps, options)
        except Failed as failed:
            failure, hint = failed.what, failed.fix
        finally:
            for request in api.not_restored:
                steps.say(f"not put back, do it by hand: {request}\n")
    if api.not_restored:
        told = "not put back: " + "; ".join(api.not_restored)
        failure = f"{failure}; {told}" if failure else told
        hint = hint or "Send by hand what was not."
    return Outcome([asdict(it) for it in steps.told], steps.skipped, failure, hint)
