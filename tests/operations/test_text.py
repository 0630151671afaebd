"""Tables, spans, sizes."""

from __future__ import annotations

import pytest

from rauskuclaw.operations.text import Cell, Paint, pairs, size, span, table

PLAIN = Paint(on=False)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.00 s"), (0.349, "0.35 s"), (12.9, "12 s"), (60, "1 min"), (200, "3 min 20 s"),
        (3600, "1 h"), (7500, "2 h 5 min"), (90_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_spans_have_at_most_two_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("n_bytes", "shown"), [(512, "512 B"), (1536, "1.5 KiB"), (200 * 1024**2, "200 MiB"), (5 * 1024**5, "5120 TiB")]
)
def test_sizes_have_the_unit_that_suits_them(n_bytes: int, shown: str) -> None:
    assert size(n_bytes) == shown


def test_columns_are_aligned_and_numbers_to_the_right() -> None:
    shown = table(("name", "n"), [("a", Cell("1", right=True)), ("long", Cell("100", right=True))], PLAIN)

    assert shown.splitlines() == ["NAME    N", "a       1", "long  100"]


def test_colours_do_not_disturb_the_columns() -> None:
    shown = table(("", "x"), [(Cell("ok", "green"), "1"), (Cell("failed", "red"), "2")], Paint(on=True))

    assert shown.splitlines()[1] == "\x1b[32mok\x1b[0m      1"


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs([("id", "1"), ("worker", ""), ("queue", "q")], PLAIN).splitlines() == ["id     1", "queue  q"]
