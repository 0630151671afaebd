"""The shape of an operator's command: `--json`, errors in the API's envelope, exit codes, colours."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError

from rauskuclaw import errors
from rauskuclaw.api.parsers import parse_json
from rauskuclaw.errors import Problem
from rauskuclaw.operations.text import Paint

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
BAD_REQUEST = 400


@dataclass(frozen=True)
class Answer:
    """What a command has to say: `text` to a person, `facts` to a program. `problem`: it did not (all) work."""

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None

    def as_json(self) -> dict[str, Any]:
        """`{"ok": true, …}`, or `{"ok": false, "error": {code, message}, …}`."""
        head = self.problem.as_envelope() if self.problem else {"ok": True}
        return {**head, **self.facts}


class OperatorCommand(BaseCommand):
    """A command made of verbs that return an `Answer`.

    Exit codes: 0 it worked; 1 it did not; 2 it was asked for wrongly; 130 Ctrl-C. With `--json` stdout holds exactly
    one JSON object, whatever happens. Works as far as it can while Postgres is away: no system checks run before it.
    """

    requires_system_checks = []
    requires_migrations_checks = False
    paint = Paint(on=False)

    def add_arguments(self, parser: CommandParser) -> None:
        """`--json`, and the command's own."""
        parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
        self.add_own_arguments(parser)

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The command's own arguments."""

    def add_verbs(self, parser: CommandParser, verbs: Mapping[str, str]) -> dict[str, CommandParser]:
        """A sub-parser for each verb; `--json` may stand on either side of it. The method `_<verb>` answers."""
        group = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        made = {name: group.add_parser(name, help=text, description=text) for name, text in verbs.items()}
        for verb in made.values():
            # No default here: it would undo a --json that stood before the verb.
            verb.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="answer in JSON")
        return made

    def run_from_argv(self, argv: list[str]) -> None:
        """As Django's; with `--json`, being asked wrongly is told in JSON too."""
        if "--json" in argv[2:]:
            try:
                # Not "called from the command line" yet, so the parser raises instead of printing its usage.
                self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
            except CommandError as error:
                told = Problem(errors.VALIDATION_ERROR, str(error).removeprefix("Error: "))
                self.stdout.write(json.dumps(told.as_envelope()))
                sys.exit(EXIT_USAGE)
        super().run_from_argv(argv)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run, print the answer, exit with its code."""
        self.paint = Paint(on=False) if options["no_color"] else Paint.for_stream(self.stdout)
        as_json = options["json"]
        try:
            answer = self._answer(options)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
        with _closed_pipe_is_fine():
            if as_json:
                self.stdout.write(json.dumps(answer.as_json(), ensure_ascii=False))
            elif answer.text:
                self.stdout.write(answer.text)
            if answer.problem and not as_json and not answer.facts:
                self.stderr.write(f"{self.paint('error:', 'red')} {answer.problem.message}")
        if answer.problem:
            sys.exit(EXIT_USAGE if answer.problem.code.status == BAD_REQUEST else EXIT_FAILED)

    def _answer(self, options: dict[str, Any]) -> Answer:
        try:
            return self.answer(**options)
        except Problem as problem:
            return Answer("", problem=problem)
        except (OperationalError, InterfaceError) as error:
            return Answer("", problem=database_problem(error))
        except DatabaseError as error:
            told = f"Postgres refused: {first_line(error)}. If the tables are missing or old: `manage.py migrate`."
            return Answer("", problem=Problem(errors.NOT_READY, told))

    def answer(self, *, verb: str, **options: Any) -> Answer:
        """Do what was asked. Verbs go to the methods named after them."""
        told: Answer = getattr(self, f"_{verb}")(**options)
        return told


def command_actor() -> str:
    """Who runs this command, for the audit log: `cli:<account>`."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's arbitrary user id has no account
        return f"cli:{os.getuid()}"


def database_problem(error: Exception) -> Problem:
    """Postgres did not answer, told to an operator."""
    return Problem(
        errors.DATABASE_UNAVAILABLE,
        f"Postgres does not answer: {first_line(error)}. Start it (`make up`), or mend DATABASE_URL.",
    )


def first_line(error: object) -> str:
    """The gist of a driver's message, without its hints and final stop."""
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")


@contextlib.contextmanager
def _closed_pipe_is_fine() -> Any:
    """`manage.py jobs list | head -1` is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_argument(text: str) -> Any:
    """One JSON value under the API's rules; `-` reads it from stdin. Raises Problem."""
    found: Any = parse_json(f"[{sys.stdin.read() if text == '-' else text}]".encode("utf-8", "surrogateescape"))
    if len(found) != 1:
        raise Problem(errors.INVALID_JSON, "--input must hold one JSON value")
    return found[0]
