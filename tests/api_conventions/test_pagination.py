"""Numbers, texts and cursors in queries."""

from __future__ import annotations

import base64
import contextlib
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from rauskuclaw.api.pagination import decode_cursor, encode_cursor, int_param, text_param
from rauskuclaw.errors import VALIDATION_ERROR, Problem


def asked(**query: str) -> Request:
    return Request(APIRequestFactory().get("/", query))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7), ("12abc", 12), (" 9", 9), ("+3", 3), ("1.9", 1), ("0007", 7),
        ("0", 50), ("000", 50), ("abc", 50), ("", 50), ("undefined", 50), ("NaN", 50), ("٣", 50),
        ("-5", 1), ("201", 200), ("9" * 5000, 200),
    ],
)  # fmt: skip
def test_a_number_is_read_leniently_and_clamped(text: str, number: int) -> None:
    assert int_param(asked(limit=text), "limit", 50, 200) == number


def test_an_absent_number_is_the_default() -> None:
    assert int_param(asked(), "limit", 50, 200) == 50


@pytest.mark.parametrize(("text", "value"), [("queued", "queued"), ("undefined", None), ("", None), (" ", " ")])
def test_the_literal_undefined_and_nothing_are_no_filter(text: str, value: str | None) -> None:
    assert text_param(asked(status=text), "status") == value


def test_a_nul_in_a_filter_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        text_param(asked(q="a\0b"), "q")

    assert caught.value.code is VALIDATION_ERROR


@settings(max_examples=30, deadline=None)
@given(moment=st.datetimes(timezones=st.just(UTC)), ident=st.uuids(), text=st.text("aZ9:.-_é語😀"))
def test_a_cursor_gives_back_what_was_put_in(moment: datetime, ident: uuid.UUID, text: str) -> None:
    cursor = encode_cursor(moment, ident, text, 7)

    assert decode_cursor(cursor, datetime, uuid.UUID, str, int) == (moment, ident, text, 7)
    assert cursor.isascii()


@pytest.mark.parametrize(
    "text",
    ["", "x", "äöü", "!!!!", "W10", encode_cursor("2026-01-01T00:00:00"), encode_cursor("no date"), encode_cursor(5)],
)
def test_a_cursor_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="start again without it"):
        decode_cursor(text, datetime)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_no_forged_cursor_does_worse_than_be_refused(raw: bytes) -> None:
    with contextlib.suppress(Problem):
        decode_cursor(base64.urlsafe_b64encode(raw).decode(), str, int)
