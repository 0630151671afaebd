"""Who a request comes from: sources and their order, disabled mode, roles, and what it costs."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from access import keys
from access.credentials import forget_stored_keys
from rauskuclaw import config
from tests.access.conftest import Configure, MakeKey
from tests.apiclient import ADMIN, GPU_ONLY, READER, Answer, Api

pytestmark = pytest.mark.django_db

api = Api()


def whoami(key: str | None = None, **headers: str) -> Answer:
    return api.get("/v1/auth/whoami", key=key, **headers)


def test_whoami_shows_exactly_the_contract_s_object() -> None:
    answer = whoami(GPU_ONLY)

    assert answer.status == 200
    assert list(answer.json["auth"].items()) == [
        ("name", "gpu-team"),
        ("role", "admin"),
        ("sse", True),
        ("can_write", True),
        ("queue_allowlist", ["gpu"]),
    ]


@pytest.mark.parametrize("key", [None, "", "wrong", ADMIN + "x", ADMIN[:-1], "ÄÖ€", "rk_abcdefgh_" + "A" * 43])
def test_without_a_known_key_the_answer_is_401(key: str | None) -> None:
    answer = whoami(key)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert "ApiKey" in answer.headers["WWW-Authenticate"]


def test_a_stored_key_works_beside_configured_ones(make_key: MakeKey) -> None:
    assert whoami(make_key("bot").secret).json["auth"]["name"] == "bot"


def test_a_key_in_the_query_opens_nothing_but_the_stream() -> None:
    assert api.get(f"/v1/auth/whoami?api_key={ADMIN}", key=None).status == 401


def test_the_header_s_name_is_configurable(configure: Configure) -> None:
    configure(API_KEY_HEADER="X-Runner-Key")

    assert whoami(None, X_Runner_Key=ADMIN).status == 200
    assert whoami(ADMIN).status == 401


def test_the_list_of_keys_wins_over_the_single_key(configure: Configure) -> None:
    configure(API_KEY="single-key-for-tests")

    assert whoami("single-key-for-tests").status == 401


@pytest.mark.parametrize("keys_json", ["", "[]"])
def test_an_empty_list_falls_through_to_the_single_key(configure: Configure, keys_json: str) -> None:
    configure(API_KEYS_JSON=keys_json, API_KEY="single-key-for-tests")

    auth = whoami("single-key-for-tests").json["auth"]

    assert (auth["name"], auth["role"], auth["queue_allowlist"]) == ("legacy-api-key", "admin", None)


def test_of_two_entries_with_one_key_the_first_wins(configure: Configure) -> None:
    configure(API_KEYS_JSON=json.dumps([{"key": "twice-given-key"}, {"key": "twice-given-key", "role": "read"}]))

    assert whoami("twice-given-key").json["auth"]["name"] == "key-1"


def test_a_placeholder_key_is_refused_at_start(configure: Configure) -> None:
    with pytest.raises(config.ConfigError, match="placeholder"):
        configure(API_KEYS_JSON="", API_KEY="change-me-please")


def test_without_any_key_the_server_says_it_is_not_configured(keyless: Configure) -> None:
    assert (whoami().status, whoami().code) == (503, "AUTH_NOT_CONFIGURED")
    assert whoami("any-key").code == "AUTH_NOT_CONFIGURED"


@pytest.mark.parametrize("key", [None, "any-key"])
def test_in_disabled_mode_everybody_is_admin(keyless: Configure, key: str | None) -> None:
    keyless(API_AUTH_DISABLED=1)

    assert whoami(key).json["auth"] == {
        "name": "auth-disabled",
        "role": "admin",
        "sse": True,
        "can_write": True,
        "queue_allowlist": None,
    }


def test_disabled_mode_ends_with_the_first_configured_key(configure: Configure) -> None:
    configure(API_AUTH_DISABLED=1)

    assert whoami().status == 401


def test_disabled_mode_ends_with_the_first_stored_key_and_does_not_return_when_it_is_revoked(
    keyless: Configure, make_key: MakeKey
) -> None:
    keyless(API_AUTH_DISABLED=1)

    made = make_key()
    live = whoami().status
    keys.revoke(made.key.pk, by="test")

    assert (live, whoami().status) == (401, 401)


def test_in_disabled_mode_a_foreign_page_cannot_write(keyless: Configure) -> None:
    keyless(API_AUTH_DISABLED=1)

    foreign = api.post("/v1/keys", {"name": "x"}, key=None, Origin="https://evil.example")
    own = api.post("/v1/keys", {"name": "x"}, key=None, Origin="http://testserver")

    assert (foreign.status, foreign.code, own.status) == (403, "CSRF_FAILED", 201)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_reader_cannot_write_and_is_told_before_its_body_is_looked_at(method: str) -> None:
    path = "/v1/keys" if method == "POST" else "/v1/keys/00000000-0000-4000-8000-000000000000"

    answer = api(method, path, {"nonsense": True}, key=READER)

    assert (answer.status, answer.code) == (403, "FORBIDDEN")


def test_minting_a_stream_token_counts_as_a_read() -> None:
    assert api.post("/v1/auth/sse-token", {}, key=READER).status == 200


def test_a_configured_key_costs_no_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert whoami(READER).status == 200


def test_a_stored_key_costs_one_indexed_statement_and_none_while_it_is_cached(make_key: MakeKey) -> None:
    secret = make_key().secret
    whoami(secret)
    forget_stored_keys()

    with CaptureQueriesContext(
        connection,
    ) as first:
        whoami(secret)
    with CaptureQueriesContext(connection) as second:
        whoami(secret)

    assert len(first) == 1
    assert '"access_apikey"."prefix" = ' in first[0]["sql"]
    assert len(second) == 0


def test_refused_keys_are_limited_for_each_address_and_valid_ones_go_on(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(AUTH_FAILURE_LIMIT_PER_MIN=3)
    client = api._client
    monkeypatch.setitem(client.defaults, "REMOTE_ADDR", "198.51.100.7")

    statuses = [whoami("wrong").status for _ in range(4)]
    limited = whoami("wrong")

    assert statuses == [401, 401, 401, 429]
    assert limited.code == "RATE_LIMITED"
    assert 1 <= int(limited.headers["Retry-After"]) <= 60
    assert whoami(ADMIN).status == 200
