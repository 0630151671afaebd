"""Charts as SVG by themselves: readable in light and in dark, without scripts, fonts or a library.

A picture in a page follows the reader's scheme by a media query of its own, which is what no plotting library writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 760
_LABEL, _VALUE, _ROW, _TOP = 320, 70, 26, 44

_STYLE = """<style>
text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px } .soft { fill: #57606a } .grid { stroke: #d0d7de }
.ours { fill: #0d7c84 } .peer { fill: #9aa4af } .a { stroke: #0d7c84 } .b { stroke: #b35900 } .c { stroke: #6639ba }
.d { stroke: #57606a } .e { stroke: #bf3989 } .f { stroke: #1a7f37 } polyline { fill: none; stroke-width: 2 } .key { stroke-width: 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d } .ours { fill: #3fb0b7 } .peer { fill: #656c76 }
.a { stroke: #3fb0b7 } .b { stroke: #f0883e } .c { stroke: #a371f7 } .d { stroke: #9198a1 } .e { stroke: #f778ba } .f { stroke: #3fb950 }
}
</style>"""


def bars(title: str, values: Mapping[str, float], *, unit: str, ours: Sequence[str] = ()) -> str:
    """Horizontal bars in the given order; those named in `ours` stand out."""
    most = max(values.values())
    room = WIDTH - _LABEL - _VALUE
    parts = []
    for row, (name, value) in enumerate(values.items()):
        y = _TOP + row * _ROW
        kind = "ours" if name in ours else "peer"
        parts.append(
            f'<text x="{_LABEL - 10}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{max(1.0, room * value / most):.1f}" height="17" rx="2"/>'
            f'<text x="{_LABEL + max(1.0, room * value / most) + 6:.1f}" y="{y + 13}">{_short(value)}</text>'
        )
    return _picture(f"{title} ({unit})", _TOP + len(values) * _ROW + 8, parts)


def lines(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, x_unit: str, y_unit: str, height: int = 300
) -> str:
    """Lines over a common x axis, from zero up; at most five."""
    left, right, bottom = 60, 16, 64
    xs = [x for points in series.values() for x, _ in points]
    most_x, most_y = max(xs), max(y for points in series.values() for _, y in points) * 1.1 or 1.0
    wide, high = WIDTH - left - right, height - _TOP - bottom

    def place(x: float, y: float) -> str:
        return f"{left + wide * x / most_x:.1f},{_TOP + high * (1 - y / most_y):.1f}"

    parts = []
    for step in range(5):
        y = _TOP + high * step / 4
        parts.append(
            f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="soft" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(most_y * (4 - step) / 4)}</text>'
        )
    parts.append(f'<text class="soft" x="{left}" y="{_TOP + high + 18}">0</text>')
    parts.append(
        f'<text class="soft" x="{WIDTH - right}" y="{_TOP + high + 18}" text-anchor="end">{_short(most_x)} {x_unit}</text>'
    )
    for number, (name, points) in enumerate(series.items()):
        kind, x = "abcdef"[number], left + number * (wide // max(1, len(series)))
        parts.append(f'<polyline class="{kind}" points="{" ".join(place(*point) for point in points)}"/>')
        parts.append(
            f'<line class="key {kind}" x1="{x}" x2="{x + 18}" y1="{height - 18}" y2="{height - 18}"/>'
            f'<text x="{x + 24}" y="{height - 14}">{escape(name)}</text>'
        )
    return _picture(f"{title} ({y_unit})", height, parts)


def _picture(title: str, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
    return "\n".join(
        [
            head,
            f"<title>{escape(title)}</title>",
            _STYLE,
            f'<text class="title" x="0" y="20">{escape(title)}</text>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _short(value: float) -> str:
    """Three significant digits, with thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
