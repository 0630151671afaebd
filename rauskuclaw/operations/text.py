"""Text for people at a terminal: aligned tables, spans of time, colours where they are welcome."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

COLOURS = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34}
_GAP = "  "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Cell(NamedTuple):
    """One cell of a table. Numbers read best with `right`."""

    text: str
    colour: str = ""
    right: bool = False


class HasTTY(Protocol):
    """A stream that knows whether a person reads it."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""


class Paint:
    """Colours text, or leaves it alone: `paint("late", "red")`."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    @classmethod
    def for_stream(cls, stream: HasTTY) -> Paint:
        """Colours on a terminal, unless NO_COLOR (https://no-color.org) is set."""
        return cls(on=stream.isatty() and not os.environ.get("NO_COLOR"))

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self._on and colour and text else text


def table(head: Sequence[str], rows: Sequence[Sequence[Cell | str]], paint: Paint) -> str:
    """Aligned columns under a dim head; no trailing blanks."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    titles = [
        Cell(title.upper(), "dim", right=bool(cells) and cells[0][column].right) for column, title in enumerate(head)
    ]
    widths = [max(len(row[column].text) for row in [titles, *cells]) for column in range(len(head))]
    return "\n".join(_line(row, widths, paint) for row in [titles, *cells])


def _line(row: Sequence[Cell], widths: Sequence[int], paint: Paint) -> str:
    shown = []
    for cell, width in zip(row, widths, strict=True):
        pad = " " * (width - len(cell.text))
        text = paint(cell.text, cell.colour)
        shown.append(pad + text if cell.right else text + pad)
    return _GAP.join(shown).rstrip()


def pairs(facts: Sequence[tuple[str, str]], paint: Paint) -> str:
    """`name  value` lines, the names dim and aligned; empty values are left out."""
    known = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{paint(name.ljust(width), 'dim')}{_GAP}{value}" for name, value in known)


def span(seconds: float) -> str:
    """A length of time in at most two units: 0.35 s, 12 s, 3 min 20 s, 2 h 5 min, 4 d 1 h. Never negative."""
    if seconds < 1:
        return f"{max(0.0, seconds):.2f} s"
    whole = int(seconds)
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def size(n_bytes: float) -> str:
    """A number of bytes in the unit that suits it: 512 B, 3.4 GiB."""
    power = 0
    while n_bytes >= 1024 and power < len(_UNITS) - 1:
        n_bytes, power = n_bytes / 1024, power + 1
    return f"{n_bytes:.{0 if power == 0 or n_bytes >= 100 else 1}f} {_UNITS[power]}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 job`, `3 jobs`, `1,204 jobs`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
