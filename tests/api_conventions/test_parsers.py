"""Bodies: what is read, what is refused, and with which words."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rauskuclaw.api.parsers import parse_json, read_bounded
from rauskuclaw.errors import INVALID_JSON, PAYLOAD_TOO_LARGE, Problem


def refusal(raw: bytes | str) -> Problem:
    with pytest.raises(Problem) as caught:
        parse_json(raw.encode() if isinstance(raw, str) else raw)
    assert caught.value.code is INVALID_JSON
    json.dumps(caught.value.as_envelope(), ensure_ascii=False).encode()
    return caught.value


_text = st.text('az"\\/ \n\té語😀\u2028\ud7ff')
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_text, json_values), st.booleans())
def test_every_ordinary_object_is_read_as_it_was_written(document: dict[str, Any], escaped: bool) -> None:
    assert parse_json(json.dumps(document, ensure_ascii=escaped).encode()) == document


@pytest.mark.parametrize("raw", [b"", b"  \r\n"])
def test_an_empty_body_is_an_empty_object(raw: bytes) -> None:
    assert parse_json(raw) == {}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("{", "line 1 column 2"),
        ('{"a": 1,\n oops}', "line 2 column 2"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1 column 1"),
        ("7", "object or an array"),
        ('"text"', "object or an array"),
        ("null", "object or an array"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": -1e999}', "too large"),
        ('{"a": ' + "9" * 250 + "e99}", "too large"),
        ('{"a": ' + "9" * 301 + "}", "more than 300 digits"),
        ('{"a": ' + "9" * 5000 + "}", "more than 300 digits"),
        ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ('{"x": {"\\ud800": 1, "\\ud800": 2}}', "appears twice"),
        ('{"a": "\0"}', "Invalid control character"),
        ('{"a": {"b": ["x", "\\u0000"]}}', "the text at a.b[1] holds the NUL character"),
        ('[{"a\\u0000": 1}]', "a key at [0] holds the NUL character"),
        ('{"a": "\\ud83d"}', "the text at a holds half of a surrogate pair"),
        ('{"a": "\\ude00\\ud83d"}', "half of a surrogate pair"),
        ('{"\\udfff": 1}', "a key at the top level holds half"),
        ('{"a":' * 101 + "1" + "}" * 101, "more than 100 levels"),
        ("[" * 5000 + "]" * 5000, "more than 100 levels"),
        ("[" * 200_000, "more than 100 levels"),
    ],
)  # fmt: skip
def test_what_no_two_programs_agree_on_is_refused_with_its_place(raw: bytes | str, told: str) -> None:
    assert told in refusal(raw).message


def test_the_place_is_also_in_the_details() -> None:
    assert refusal('{"a": ["\\u0000"]}').details == {"path": "a[0]"}
    assert refusal('{"a" 1}').details == {"line": 1, "column": 6}


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        ('{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (r'{"a": "\\u0000"}', {"a": r"\u0000"}),
        ('{"a": ' + "9" * 300 + "}", {"a": int("9" * 300)}),
        ('{"a": 1e-999}', {"a": 0.0}),
        ("[" * 100 + "]" * 100, None),
        ("[" + "[]," * 500 + "[]]", [[]] * 501),
    ],
)
def test_what_only_looks_odd_is_accepted(raw: str, document: Any) -> None:
    assert document is None or parse_json(raw.encode()) == document
    parse_json(raw.encode())


def test_a_large_body_is_refused_by_its_length_without_reading_it() -> None:
    stream = io.BytesIO(b"x" * 100)

    with pytest.raises(Problem) as caught:
        read_bounded(stream, declared_bytes=100, limit_bytes=99)

    assert caught.value.code is PAYLOAD_TOO_LARGE
    assert stream.tell() == 0


def test_a_body_that_lies_about_its_length_is_read_only_to_the_limit() -> None:
    stream = io.BytesIO(b"x" * 1000)

    with pytest.raises(Problem, match=r"larger than 99 bytes"):
        read_bounded(stream, declared_bytes=5, limit_bytes=99)

    assert stream.tell() == 100


def test_a_body_that_was_cut_off_is_refused() -> None:
    with pytest.raises(Problem, match=r"ended after 7 of 8 bytes"):
        read_bounded(io.BytesIO(b'{"a":1}'), declared_bytes=8, limit_bytes=99)
