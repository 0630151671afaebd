"""What a rule of the checker is: a pure function from the evidence of a run to what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.chaos.evidence import Evidence

TERMINAL = {"succeeded", "failed", "cancelled"}

Wrong = Iterator[tuple[str, str]]
"""(subject, what is wrong with it)."""
Judge = Callable[[Evidence], Wrong]
Count = Callable[[Evidence], int]


class Rule(NamedTuple):
    """A rule: what it looks at (how many, of what), and the judge."""

    count: Count
    noun: str
    judge: Judge


class Finding(NamedTuple):
    """One violation."""

    rule: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.text}"


class RuleBook(dict[str, Rule]):
    """Rules by name, in the order they were written."""

    def rule(self, name: str, noun: str, count: Count) -> Callable[[Judge], Judge]:
        """Add a rule that looks at `count` such nouns."""

        def add(judge: Judge) -> Judge:
            self[name] = Rule(count, noun, judge)
            return judge

        return add
