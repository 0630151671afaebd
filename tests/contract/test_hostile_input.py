"""Whatever is sent: a clear 400 or 413, never a 500, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.models import Job, JobLog, JobType
from tests.apiclient import Api

DEEP = 5_000
MEGABYTE = 1_048_576

BODIES: dict[str, tuple[bytes, int]] = {
    "nothing but spaces": (b"   ", 400),
    "cut off": (b'{"type": "any"', 400),
    "trailing comma": (b'{"type": "any",}', 400),
    "two documents": (b'{"type": "any"}{"type": "any"}', 400),
    "a comment": (b'{"type": "any"} // yes', 400),
    "single quotes": (b"{'type': 'any'}", 400),
    "a bare string": (b'"any"', 400),
    "a bare number": (b"1", 400),
    "null": (b"null", 400),
    "NUL escaped in a value": (b'{"type": "any", "input": "a\\u0000b"}', 400),
    "NUL escaped in a key": (b'{"type": "any", "input": {"a\\u0000": 1}}', 400),
    "NUL raw": (b'{"type": "any", "input": "a\x00b"}', 400),
    "NUL in the type": (b'{"type": "any\\u0000"}', 400),
    "NUL in a tag": (b'{"type": "any", "tags": ["\\u0000"]}', 400),
    "NUL in the queue": (b'{"type": "any", "queue": "\\u0000"}', 400),
    "NUL in the callback": (b'{"type": "any", "callback_url": "https://x.org/\\u0000"}', 400),
    "a high surrogate alone": (b'{"type": "any", "input": "\\ud800"}', 400),
    "a low surrogate alone": (b'{"type": "any", "input": "\\udc00 "}', 400),
    "surrogates the wrong way round": (b'{"type": "any", "input": "\\udc00\\ud800"}', 400),
    "a surrogate in a key": (b'{"type": "any", "input": {"\\udfff": 1}}', 400),
    "a surrogate encoded as bytes": (b'{"type": "any", "input": "\xed\xa0\x80"}', 400),
    "NaN": (b'{"type": "any", "input": NaN}', 400),
    "Infinity": (b'{"type": "any", "input": [-Infinity]}', 400),
    "1e999": (b'{"type": "any", "input": 1e999}', 400),
    "an integer of 5,000 digits": (b'{"type": "any", "input": ' + b"9" * DEEP + b"}", 400),
    "a huge priority": (b'{"type": "any", "priority": ' + b"9" * 200 + b"}", 400),
    "arrays 5,000 deep": (b'{"type": "any", "input": ' + b"[" * DEEP + b"]" * DEEP + b"}", 400),
    "objects 5,000 deep": (b'{"type": "any", "input": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", 400),
    "500,000 opening brackets": (b"[" * 500_000, 400),
    "a key twice": (b'{"type": "any", "type": "any"}', 400),
    "a key twice inside": (b'{"type": "any", "input": {"a": 1, "a": 2}}', 400),
    "not UTF-8": (b'{"type": "any", "input": "\xff\xfe"}', 400),
    "UTF-16": ('{"type": "any"}'.encode("utf-16"), 400),
    "overlong UTF-8": (b'{"type": "any", "input": "\xc0\x80"}', 400),
    "more than a mebibyte": (b'{"type": "any", "input": "' + b"x" * MEGABYTE + b'"}', 413),
    "a megabyte type": (b'{"type": "' + b"x" * 1_000_000 + b'"}', 400),
    "a megabyte queue": (b'{"type": "any", "queue": "' + b"x" * 1_000_000 + b'"}', 400),
    "a megabyte callback": (b'{"type": "any", "callback_url": "https://' + b"x" * 1_000_000 + b'"}', 400),
}


@pytest.fixture(autouse=True)
def _any(make_type: Callable[..., JobType]) -> None:
    make_type("any", handler="plugin:absent")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/batch", "/v1/job-types"])
@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused_and_nothing_is_written(api: Api, name: str, path: str) -> None:
    body, status = BODIES[name]

    answer = api.post(path, body)

    assert answer.status == status, answer.text
    assert answer.code in {"INVALID_JSON", "VALIDATION_ERROR", "PAYLOAD_TOO_LARGE"}
    assert len(answer.text) < 2_000, "the answer must not echo the body"
    assert (Job.objects.count(), JobLog.objects.count(), JobType.objects.count()) == (0, 0, 1)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        [[[[0]]]] * 10_000,
        {f"key {number}": number for number in range(20_000)},
        10**299,
        "😀 \u2028 \ufffe \U0010ffff \x01\x7f\x9f",
        {"": {"": ""}, "__proto__": 1, "$ref": "#", "a'b\"c\\": "%s %(id)s; DROP TABLE jobs_job; --"},
    ],
    ids=["megabyte", "wide", "many keys", "long integer", "odd text", "odd keys"],
)
def test_odd_but_sound_input_is_stored_as_it_came(api: Api, value: Any) -> None:
    job_id = api.post("/v1/jobs", {"type": "any", "input": value}).json["job"]["id"]

    assert api.get(f"/v1/jobs/{job_id}").json["job"]["input"] == value
    assert api.get("/v1/jobs?q=key").status == 200


def test_extreme_floats_are_the_same_numbers_when_read_again(api: Api) -> None:
    value = [1e308, -1e-308, 5e-324, 0.1, -0.0]

    job_id = api.post("/v1/jobs", {"type": "any", "input": value}).json["job"]["id"]

    # Postgres writes 1e308 out in full; JSON has one kind of number, so both spellings mean the same.
    assert [float(number) for number in api.get(f"/v1/jobs/{job_id}").json["job"]["input"]] == value


@pytest.mark.parametrize("key", ["k" * 8_000, "ключ", "\x01", "a,b;c=d", "' OR 1=1 --"])
def test_any_text_is_an_idempotency_key(api: Api, key: str) -> None:
    first, second = (api.post("/v1/jobs", {"type": "any"}, idempotency_key=key) for _ in range(2))

    assert (first.status, second.status) == (201, 200)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/%00", "/v1/jobs/%ff%fe", "/v1/jobs/" + "x" * 5_000, "/v1/jobs/..%2f..%2fetc", "/v1/job-types/%00",
        "/v1/job-types/" + "x" * 5_000, "/v1/jobs/%F0%9F%98%80/logs", "/v1/jobs/'%20OR%201=1/explain",
    ],
)  # fmt: skip
def test_a_hostile_path_is_a_404(api: Api, path: str) -> None:
    assert (api.get(path).status, api.get(path).code) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "query", ["q=%ff", "q=%25%5C_", "status=%F0%9F%98%80", "tag=%7B%22%2C%7D", "limit=1e9", "&&==&"]
)
def test_a_hostile_query_is_no_fault_of_the_server(api: Api, query: str) -> None:
    assert api.get(f"/v1/jobs?{query}").status == 200


# Any JSON that Python can write, surrogates, NUL, NaN and all.
TEXTS = st.text(st.characters(), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("any") | JSON,
        "queue": st.sampled_from(["default", "gpu", " ", "a b"]) | JSON,
        "input": JSON | st.fixed_dictionaries({}, optional={"depends_on": JSON, "memory": JSON, "memory_write": JSON}),
        "priority": st.integers(-2, 12) | JSON,
        "timeout_sec": st.integers(-2, 4000) | JSON,
        "max_attempts": st.integers(-2, 12) | JSON,
        "callback_url": st.just("https://example.org/x") | JSON,
        "tags": st.lists(TEXTS, max_size=30) | JSON,
    },
)


@given(body=BODY | JSON, head=st.binary(max_size=2))
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_body_makes_one_whole_job_or_none(api: Api, body: Any, head: bytes) -> None:
    before = Job.objects.count()

    answer = api.post("/v1/jobs", head + json.dumps(body).encode())

    assert answer.status in {201, 400}, answer.text
    assert Job.objects.count() - before == (answer.status == 201)
    if answer.status == 201:
        assert api.get(f"/v1/jobs/{answer.json['job']['id']}").json["job"] == answer.json["job"]
    assert JobLog.objects.filter(message="Job created").count() == Job.objects.count()
