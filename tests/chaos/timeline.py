"""The picture of a run: faults below, what was submitted and what ended above, on one axis of time. Plain SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP = 960, 168, 12, 34
CHART_HEIGHT, ROW_HEIGHT, GAP = 150, 15, 30
LEAST_WIDTH = 2.5
"""A SIGKILL takes no time, and must be seen."""
MOST_POINTS = 200

# Two palettes, so that the file reads well on a light and on a dark page.
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #3b4754 } .title { font-size: 13px; font-weight: 600 }
.grid { stroke: #d8dee4 } .ended { fill: #1c939b; fill-opacity: .35; stroke: #0d7c84 } .line { fill: none }
.submitted { fill: none; stroke: #7a8794; stroke-dasharray: 3 2 } .fault { fill: #cf4a3d } .missed { fill: #b8c0c8 }
@media (prefers-color-scheme: dark) {
  text { fill: #c3ccd6 } .grid { stroke: #37414c } .ended { fill: #3fb0b7; stroke: #76cdd2 }
  .submitted { stroke: #8b98a5 } .fault { fill: #ef7d70 } .missed { fill: #56616d }
}
""".strip()


@dataclass(frozen=True)
class Bar:
    """A fault: its row, its seconds since the start, and whether it met its victim."""

    name: str
    began: float
    ended: float
    struck: bool


def timeline(*, submitted: Sequence[float], ended: Sequence[float], faults: Sequence[Bar], seconds: float) -> str:
    """The picture. submitted, ended: when each job was, in seconds since the start."""
    rows = sorted({bar.name for bar in faults})
    height = TOP + CHART_HEIGHT + GAP + len(rows) * ROW_HEIGHT + 8
    scale = _Scale(seconds, _most(seconds, submitted, ended))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' aria-label="Jobs submitted and ended each second, and the faults of the run">',
        f"<style>{STYLE}</style>",
        f'<text x="{LEFT}" y="16" class="title">Jobs a second: ended (area), submitted (dashes)</text>',
        *_grid(scale, height),
        f'<path class="ended" d="{scale.path(ended, closed=True)}"/>',
        f'<path class="submitted" d="{scale.path(submitted)}"/>',
        *_faults(scale, rows, faults),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True)
class _Scale:
    seconds: float
    most: int

    def x(self, at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(at, self.seconds) / self.seconds, 1)

    def y(self, count: float) -> float:
        return round(TOP + CHART_HEIGHT * (1 - count / self.most), 1)

    def path(self, moments: Sequence[float], *, closed: bool = False) -> str:
        step = _step_sec(self.seconds)
        each = _a_second(moments, step)
        points = [
            f"{self.x((place + 0.5) * step)},{self.y(each.get(place, 0.0))}"
            for place in range(int(self.seconds / step))
        ]
        path = "M" + " L".join(points)
        floor = self.y(0)
        return f"{path} L{self.x(self.seconds)},{floor} L{self.x(0)},{floor} Z" if closed else path


def _step_sec(seconds: float) -> int:
    """How many seconds a point stands for: a curve of more points than this is a thicket."""
    return max(1, round(seconds / MOST_POINTS))


def _a_second(moments: Sequence[float], step_sec: int) -> dict[int, float]:
    """By the number of the step, how many a second there were in it."""
    return {place: count / step_sec for place, count in Counter(int(at / step_sec) for at in moments).items()}


def _most(seconds: float, *series: Sequence[float]) -> int:
    """The top of the axis: the busiest step, rounded up to tens."""
    step = _step_sec(seconds)
    busiest = max((count for moments in series for count in _a_second(moments, step).values()), default=1)
    return math.ceil(busiest / 10) * 10


def _grid(scale: _Scale, height: int) -> Iterable[str]:
    for count in (0, scale.most // 2, scale.most):
        y = scale.y(count)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{count}</text>'
    step = next(step for step in (10, 20, 30, 60, 120, 300, 600, 3600) if scale.seconds / step <= 12)
    for second in range(0, int(scale.seconds) + 1, step):
        x = scale.x(second)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{height - 6}"/>'
        yield f'<text x="{x}" y="{TOP + CHART_HEIGHT + 16}" text-anchor="middle">{second} s</text>'


def _faults(scale: _Scale, rows: Sequence[str], faults: Sequence[Bar]) -> Iterable[str]:
    first = TOP + CHART_HEIGHT + GAP
    for place, name in enumerate(rows):
        yield f'<text x="{LEFT - 6}" y="{first + place * ROW_HEIGHT + 10}" text-anchor="end">{escape(name)}</text>'
    for bar in faults:
        x, y = scale.x(bar.began), first + rows.index(bar.name) * ROW_HEIGHT + 2
        width = max(LEAST_WIDTH, round(scale.x(bar.ended) - x, 1))
        kind = "fault" if bar.struck else "missed"
        yield f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{ROW_HEIGHT - 4}" rx="1"/>'
