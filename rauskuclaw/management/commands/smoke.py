"""`manage.py smoke`: tries a running server over HTTP, as existing clients' suites m1, m3 and m4 do."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandParser

from rauskuclaw.config import load
from rauskuclaw.errors import CONFLICT, VALIDATION_ERROR, Problem
from rauskuclaw.operations.command import Answer, OperatorCommand
from rauskuclaw.operations.smoke.options import CannotRun, options_of
from rauskuclaw.operations.smoke.steps import Steps
from rauskuclaw.operations.smoke.suites import SUITES, run


class Command(OperatorCommand):
    """Exit code 1 when a step does not hold; what the suite changed is put back in any case."""

    help = "Try a running server over HTTP: jobs (m1), chat jobs (m3), memory and schedules (m4)."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Which suite, against which server."""
        suites = "; ".join(f"{name}: {suite.shows}" for name, suite in SUITES.items())
        parser.add_argument("--suite", choices=list(SUITES), default="m1", help=suites)
        parser.add_argument("--success", action="store_true", help="m3: also ask a model, which may cost money")
        parser.add_argument("--type", default="", help="m3, m4: which chat to ask; default: one that is switched on")
        parser.add_argument("--prompt", default="", help="m3, m4: what to ask")
        parser.add_argument("--api", default="", help="address of the server; default: API_BASE, else the one here")

    def answer(self, *, verb: str = "smoke", **options: Any) -> Answer:
        """Run the suite, telling each step as it goes (not with --json, which is one object in the end)."""
        name, config = options["suite"], load()
        if options["success"] and name != "m3":
            raise Problem(VALIDATION_ERROR, "--success is for --suite m3 only")
        facts = {"command": verb, "suite": name}
        try:
            told = options_of(options, config)
        except CannotRun as cannot:
            facts |= {"error": cannot.name, "message": str(cannot)}
            return Answer(self.paint(f"error: {cannot}", "red"), facts, Problem(VALIDATION_ERROR, str(cannot)))
        suite, say = SUITES[name], (lambda _: None) if options["json"] else self._say
        say(f"{name}, {suite.shows}, against {told.api}\n")
        began = time.monotonic()
        with _sigterm_as_ctrl_c():
            outcome = run(suite, told, Steps(suite.steps, say, self.paint), header=config.api_key_header)
        took = f"{time.monotonic() - began:.1f} s" + (f", {outcome.skipped} skipped" if outcome.skipped else "")
        if not outcome.failure:
            return Answer(f"{name} passed ({took})", {**facts, "steps": outcome.steps})
        facts |= {"error": "smoke_failed", "message": outcome.failure, "hint": outcome.hint}
        text = self.paint(f"{name} failed ({took}): {outcome.failure}", "red")
        return Answer(text, {**facts, "steps": outcome.steps}, Problem(CONFLICT, outcome.failure))

    def _say(self, text: str) -> None:
        self.stdout.write(text, ending="")
        self.stdout.flush()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """What the suite changed is put back then, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
