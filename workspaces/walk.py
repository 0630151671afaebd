"""Going through a directory and all beneath it, in one order, within limits."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from workspaces.faults import Missing, WorkspaceFault
from workspaces.files import UNLISTED, place_of
from workspaces.paths import WorkspacePath
from workspaces.tree import Entry, Tree


@dataclass(frozen=True)
class Clock:
    """How long a search may take. ends_at: on the monotonic clock; None: for ever, as its job has a time limit."""

    ends_at: float | None = None

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """One that is over in so many seconds."""
        return cls(time.monotonic() + seconds)

    @property
    def is_over(self) -> bool:
        """Whether it is time to stop."""
        return self.ends_at is not None and time.monotonic() >= self.ends_at


def walk(tree: Tree, base: WorkspacePath, *, include_hidden: bool, most: int) -> Iterator[Entry]:
    """What is beneath a directory, each directory before what it holds, in the order of listings; at most so many.

    Names with a leading dot are left out, with all beneath them, unless `include_hidden`. Links are told of and not
    followed. What is gone or closed to us by the time its turn comes counts as empty; `base` itself must be there.
    """
    waiting = [_inside(tree, base, include_hidden=include_hidden, most=most)]
    given = 0
    while waiting and given < most:
        if not waiting[-1]:
            waiting.pop()
            continue
        entry = waiting[-1].pop()
        given += 1
        yield entry
        if entry.kind == "dir":
            with suppress(WorkspaceFault):
                waiting.append(_inside(tree, entry.path, include_hidden=include_hidden, most=most - given))


def _inside(tree: Tree, path: WorkspacePath, *, include_hidden: bool, most: int) -> list[Entry]:
    """The first entries of a directory, the first one last."""
    wanted = (
        entry
        for entry in tree.entries(path)
        if entry.path.name not in UNLISTED and (include_hidden or not entry.path.name.startswith("."))
    )
    return heapq.nsmallest(most, wanted, key=place_of)[::-1]


def start(tree: Tree, base: WorkspacePath) -> Entry:
    """What is at `base`, so that a missing one is told at once. Raises Missing."""
    found = tree.look(base)
    if found.kind not in {"dir", "file"}:
        raise Missing(base)
    return found
