"""`manage.py doctor`: every check in order, and its report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.db import DatabaseError, InterfaceError, connection

from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.operations.checks import machine, mcp, memory, servers, stack
from rauskuclaw.operations.command import Answer, first_line
from rauskuclaw.operations.findings import Check, Finding, Findings, Level, fail
from rauskuclaw.operations.text import Paint, count
from rauskuclaw.redis import REDIS_ERRORS, client

MACHINE: tuple[Check, ...] = (
    machine.python, machine.var_dir, machine.workspace, machine.secrets, machine.configured_keys, machine.callbacks,
    machine.plugins,
)  # fmt: skip
POSTGRES: tuple[Check, ...] = (
    servers.postgres, servers.pgvector, servers.connections, servers.postgres_clock, servers.migrations,
)  # fmt: skip
STACK: tuple[Check, ...] = (
    servers.node_clocks, stack.beat, stack.workers, stack.consumers, stack.leases, stack.stored_keys,
    stack.sealed_secrets, stack.dead_callbacks, stack.alerts, stack.job_types, stack.schedules, stack.retention,
    memory.vectors, mcp.mcp_servers,
)  # fmt: skip
"""These read our tables, and so need all migrations."""
REDIS: tuple[Check, ...] = (servers.redis, servers.redis_clock)

_MARKS = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "red")}


def diagnose() -> Iterator[Finding]:
    """Every finding. What needs a server that does not answer is left out; that it does not answer is said."""
    yield from _run(MACHINE)
    if (away := _postgres_away()) is not None:
        yield away
    else:
        basics = list(_run(POSTGRES))
        yield from basics
        if not any(found.check == "migrations" and found.level is Level.FAIL for found in basics):
            yield from _run(STACK)
    away = _redis_away()
    yield from [away] if away else _run(REDIS)


def _run(checks: Iterable[Check]) -> Findings:
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = check.__name__
            yield fail(name, f"The check broke: {type(error).__name__}: {first_line(error)}", "See the servers' logs.")


def _postgres_away() -> Finding | None:
    if load().database_url is None:
        return fail("postgres", "No Postgres is configured", "Set DATABASE_URL, or run `make up`, which brings one.")
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError) as error:
        return fail("postgres", f"Does not answer: {first_line(error)}", "Start it (`make up`), or mend DATABASE_URL.")
    return None


def _redis_away() -> Finding | None:
    try:
        client().ping()
    except REDIS_ERRORS as error:
        return fail(
            "redis",
            f"Does not answer: {first_line(error)}",
            "Start it (`make up`), or mend REDIS_URL. Jobs wait meanwhile and nothing is lost.",
        )
    return None


def answer(paint: Paint) -> Answer:
    """The findings; NOT_READY when a check failed."""
    findings = list(diagnose())
    tally = {level: sum(found.level is level for found in findings) for level in Level}
    facts = {
        "findings": [found.as_json() for found in findings],
        "summary": {level.value: n for level, n in tally.items()},
    }
    bad = [found.check for found in findings if found.level is Level.FAIL]
    problem = Problem(errors.NOT_READY, f"{count(len(bad), 'check')} failed: {', '.join(bad)}") if bad else None
    return Answer(_text(findings, tally, paint), facts, problem)


def _text(findings: list[Finding], tally: dict[Level, int], paint: Paint) -> str:
    width = max(len(found.check) for found in findings)
    lines = []
    for found in findings:
        mark, colour = _MARKS[found.level]
        lines.append(f"{paint(mark, colour)} {found.check.ljust(width)}  {found.message}")
        if found.fix:
            lines.append(f"  {' ' * width}  {paint('→ ' + found.fix, 'dim')}")
    verdict = [f"{tally[Level.OK]} ok", count(tally[Level.WARN], "warning"), f"{tally[Level.FAIL]} failed"]
    colour = "red" if tally[Level.FAIL] else "yellow" if tally[Level.WARN] else "green"
    return "\n".join([*lines, "", paint(", ".join(verdict), colour)])
