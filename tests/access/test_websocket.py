"""Who may open a WebSocket. The browser's cookie counts only with an Origin of ours."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from access.credentials import principal_for_key
from access.tokens import mint
from access.websocket import authenticate_scope
from rauskuclaw.errors import FORBIDDEN, UNAUTHORIZED, Problem
from tests.access.browser import Browser
from tests.access.conftest import Configure, MakeKey
from tests.apiclient import ADMIN, READER

JOB = "7b1d2d9e-5c0f-4d9e-9a53-0d3a6f1c2b4a"

pytestmark = pytest.mark.django_db


def scope(query: str = "", scheme: str = "ws", **headers: str) -> dict[str, Any]:
    sent = {"host": "localhost:3001", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "websocket",
        "path": f"/ws/jobs/{JOB}",
        "scheme": scheme,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 3001),
    }


def refused(handshake: dict[str, Any]) -> object:
    with pytest.raises(Problem) as problem:
        authenticate_scope(handshake, JOB)
    return problem.value.code


@pytest.fixture
def cookie(browser: Browser) -> str:
    browser.sign_in(key=READER)
    return f"sessionid={browser.client.cookies['sessionid'].value}"


def test_a_key_header_opens_the_socket_whatever_the_origin() -> None:
    principal = authenticate_scope(scope(x_api_key=ADMIN, origin="https://evil.example"), JOB)

    assert principal.name == "ci"


def test_a_stream_token_opens_the_socket_of_its_job() -> None:
    reader = principal_for_key(READER)
    assert reader is not None
    token = mint(reader, job_id=JOB).text

    assert authenticate_scope(scope(f"stream_token={token}"), JOB).source == "token"
    with pytest.raises(Problem):
        authenticate_scope(scope(f"stream_token={token}"), None)


def test_a_key_in_the_query_opens_no_socket() -> None:
    assert refused(scope(f"api_key={ADMIN}")) is UNAUTHORIZED


@pytest.mark.parametrize(
    ("origin", "scheme"),
    [("http://localhost:3001", "ws"), ("HTTP://LOCALHOST:3001", "ws"), ("https://localhost:3001", "wss")],
)
def test_a_session_opens_the_socket_from_our_own_origin(cookie: str, origin: str, scheme: str) -> None:
    assert authenticate_scope(scope(cookie=cookie, origin=origin, scheme=scheme), JOB).source == "session"


def test_a_default_port_may_be_written_or_left_out(cookie: str) -> None:
    handshake = scope(cookie=cookie, origin="https://localhost", scheme="wss", host="localhost:443")

    assert authenticate_scope(handshake, JOB).source == "session"


@pytest.mark.parametrize(
    "origin",
    [
        "https://localhost:3001",
        "http://localhost:3002",
        "http://localhost",
        "http://evil.example",
        "http://localhost:3001.evil.example",
        "http://localhost:3001@evil.example",
        "http://evil.example/localhost:3001",
        "http://localhost:99999",
        "null",
        "",
    ],
)
def test_a_session_from_any_other_origin_is_refused(cookie: str, origin: str) -> None:
    assert refused(scope(cookie=cookie, origin=origin)) is FORBIDDEN


def test_a_session_without_an_origin_is_refused(cookie: str) -> None:
    assert refused(scope(cookie=cookie)) is FORBIDDEN


def test_a_host_that_is_not_ours_makes_no_origin_ours(cookie: str, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]

    assert refused(scope(cookie=cookie, origin="http://evil.example", host="evil.example")) is FORBIDDEN


def test_a_trusted_origin_may_use_a_session(cookie: str, configure: Configure) -> None:
    configure(TRUSTED_ORIGINS="https://jobs.example.org")

    assert authenticate_scope(scope(cookie=cookie, origin="https://jobs.example.org"), JOB).name == "dashboard"


@pytest.mark.parametrize("cookie_text", ["", "sessionid=forged"])
def test_without_a_credential_the_socket_is_refused(cookie_text: str) -> None:
    assert refused(scope(cookie=cookie_text, origin="http://localhost:3001")) is UNAUTHORIZED


def test_in_disabled_mode_programs_and_own_pages_connect_and_foreign_pages_do_not(keyless: Configure) -> None:
    keyless(API_AUTH_DISABLED=1)

    assert authenticate_scope(scope(), JOB).name == "auth-disabled"
    assert authenticate_scope(scope(origin="http://localhost:3001"), JOB).name == "auth-disabled"
    assert refused(scope(origin="http://evil.example")) is FORBIDDEN


def test_a_key_without_live_streams_is_forbidden(make_key: MakeKey) -> None:
    assert refused(scope(x_api_key=make_key(sse=False).secret)) is FORBIDDEN
