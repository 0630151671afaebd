"""What a check tells: how it stands, in a sentence, and the fix."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and will not always."""
    FAIL = "fail"
    """Jobs do not run, or may be lost, or a door is open."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `fix` is empty where there is nothing to do."""

    check: str
    level: Level
    message: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """`{check, level, message, fix?}`."""
        shown = {"check": self.check, "level": self.level.value, "message": self.message}
        return {**shown, "fix": self.fix} if self.fix else shown


Findings = Iterator[Finding]
Check = Callable[[], Findings]


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, message)


def warn(check: str, message: str, fix: str) -> Finding:
    """Not well, and not yet bad."""
    return Finding(check, Level.WARN, message, fix)


def fail(check: str, message: str, fix: str) -> Finding:
    """Bad."""
    return Finding(check, Level.FAIL, message, fix)
