"""Stream tokens, and the credentials of the event stream."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import signing
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

from access.authentication import authenticate_stream, is_still_valid
from access.credentials import principal_for_key
from access.principals import Principal
from access.tokens import mint, redeem
from rauskuclaw.errors import FORBIDDEN, UNAUTHORIZED, Problem
from tests.access.browser import Browser
from tests.access.conftest import Configure, MakeKey, Revoke
from tests.apiclient import ADMIN, READER, Api

JOB, OTHER_JOB = "7b1d2d9e-5c0f-4d9e-9a53-0d3a6f1c2b4a", "00000000-0000-4000-8000-000000000000"

pytestmark = pytest.mark.django_db

api = Api()


def token_of(key: str, job_id: str | None = None) -> str:
    principal = principal_for_key(key)
    assert principal is not None
    return mint(principal, job_id=job_id).text


def open_stream(query: dict[str, str] | None = None, job_id: str | None = JOB, **headers: str) -> Principal:
    return authenticate_stream(RequestFactory().get("/v1/jobs/x/stream", query or {}, headers=headers), job_id)


def refused(query: dict[str, str]) -> object:
    with pytest.raises(Problem) as problem:
        open_stream(query)
    return problem.value.code


def test_the_answer_is_the_contract_s() -> None:
    answer = api.post("/v1/auth/sse-token", {"job_id": JOB}).json

    assert list(answer) == ["ok", "token", "token_param", "ttl_sec", "expires_at", "job_id"]
    assert (answer["token_param"], answer["ttl_sec"], answer["job_id"]) == ("stream_token", 120, JOB)
    assert redeem(answer["token"], job_id=JOB)


@pytest.mark.parametrize("body", [{"job_id": ""}, {"job_id": "a b"}, {"job_id": "x" * 121}, {"job_id": [JOB]}, [JOB]])
def test_a_bad_job_id_is_a_bad_request(body: Any) -> None:
    assert api.post("/v1/auth/sse-token", body).code == "VALIDATION_ERROR"


@pytest.mark.parametrize("body", [None, {}, {"job_id": None}])
def test_without_a_job_id_the_token_opens_every_stream(body: Any) -> None:
    token = api.post("/v1/auth/sse-token", body).json["token"]

    assert redeem(token, job_id=JOB)
    assert redeem(token, job_id=None)


def test_a_token_for_one_job_opens_no_other_and_not_the_list() -> None:
    token = token_of(READER, JOB)

    assert redeem(token, job_id=JOB.upper())
    assert redeem(token, job_id=OTHER_JOB) is None
    assert redeem(token, job_id=None) is None


def test_a_token_speaks_for_the_key_it_was_minted_with(make_key: MakeKey) -> None:
    made = make_key("gpu-bot", "read", queue_allowlist=["gpu"])

    principal = redeem(token_of(made.secret), job_id=JOB)

    assert principal is not None
    assert (principal.name, principal.role, principal.queue_allowlist) == ("gpu-bot", "read", ("gpu",))
    assert (principal.source, principal.actor) == ("token", "key:gpu-bot")


def test_a_token_does_not_contain_the_key_or_a_digest_of_it() -> None:
    payload = token_of(READER).split(".")[0]

    content = base64.urlsafe_b64decode(payload + "==").decode()

    assert "env:" in content
    assert READER not in content


@pytest.mark.parametrize(
    "ruin", [lambda t: t[:-1] + "~", lambda t: "A" + t[1:], lambda t: "", lambda t: t.split(".")[0]]
)
def test_a_forged_token_is_refused(ruin: Callable[[str], str]) -> None:
    assert redeem(ruin(token_of(READER)), job_id=JOB) is None


def test_a_token_signed_with_another_secret_key_is_refused(settings: Settings) -> None:
    token = token_of(READER)

    settings.SECRET_KEY = "another secret key of sufficient length"

    assert redeem(token, job_id=JOB) is None


@pytest.mark.parametrize(("configured_sec", "ttl_sec"), [(1, 30), (120, 120), (99_999, 1800)])
def test_a_token_lives_for_the_clamped_time(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, configured_sec: int, ttl_sec: int
) -> None:
    configure(SSE_TOKEN_TTL_SEC=configured_sec)
    now = int(timezone.now().timestamp())
    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(signing, "time", clock)
    token = token_of(READER)
    alive = []

    for age_sec in (ttl_sec, ttl_sec + 1):
        clock.time = lambda age_sec=age_sec: now + age_sec
        alive.append(redeem(token, job_id=JOB) is not None)

    assert alive == [True, False]


def test_revoking_the_key_kills_its_tokens_and_ends_long_streams(make_key: MakeKey, revoke: Revoke) -> None:
    made = make_key()
    token = token_of(made.secret)
    principal = open_stream({"stream_token": token})
    assert is_still_valid(principal)

    revoke(made)

    assert redeem(token, job_id=JOB) is None
    assert not is_still_valid(principal)


def test_taking_a_key_out_of_the_configuration_kills_its_tokens(configure: Configure) -> None:
    token = token_of(READER)

    configure(API_KEYS_JSON="", API_KEY="another-key-for-tests")

    assert redeem(token, job_id=JOB) is None


def test_the_stream_asks_the_header_then_the_token_then_the_query_key() -> None:
    token, query = token_of(READER), {"api_key": ADMIN}

    assert open_stream(query).name == "ci"
    assert open_stream({"stream_token": token, **query}).name == "dashboard"
    assert open_stream({"stream_token": token}, **{"x-api-key": ADMIN}).name == "ci"


def test_the_stream_takes_a_session_too(browser: Browser) -> None:
    browser.sign_in(key=READER)
    request = RequestFactory().get("/")
    request.session = browser.client.session

    assert authenticate_stream(request, JOB).source == "session"


@pytest.mark.parametrize("query", [{}, {"stream_token": "forged"}, {"api_key": "wrong"}, {"stream_token": ADMIN}])
def test_without_a_valid_credential_the_stream_is_401(query: dict[str, str]) -> None:
    assert refused(query=query) is UNAUTHORIZED


def test_the_names_of_the_query_parameters_are_configurable(configure: Configure) -> None:
    configure(SSE_API_KEY_PARAM="k", SSE_TOKEN_PARAM="t")

    assert open_stream({"k": ADMIN}).name == "ci"
    assert open_stream({"t": token_of(READER)}).name == "dashboard"
    assert refused(query={"api_key": ADMIN}) is UNAUTHORIZED


def test_a_principal_without_live_streams_is_forbidden(make_key: MakeKey) -> None:
    secret = make_key("quiet-bot", sse=False).secret

    assert refused(query={"api_key": secret}) is FORBIDDEN
    assert refused(query={"stream_token": token_of(secret)}) is FORBIDDEN
