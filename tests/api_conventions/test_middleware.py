"""Paths as the contract reads them, methods, ids, headers and the request log."""

from __future__ import annotations

import logging

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

pytestmark = pytest.mark.urls("tests.api_conventions.urls")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("/v1/jobs/AbC", "AbC"),
        ("/V1/JOBS/AbC/", "AbC"),
        ("/v1/Jobs/AbC/LOGS/", "AbC"),
        ("/v1/jobs/LOGS", "LOGS"),
        ("/V1/echo/", ""),
    ],
)
def test_case_and_a_final_slash_do_not_matter_but_in_names(client: Client, written: str, name: str) -> None:
    assert client.get(written).json()["name"] == name


@pytest.mark.parametrize("path", ["/v1/jobs/x//", "/v1//echo", "/v1/jobs/x/logs/more", "/v1/"])
def test_no_other_path_is_forgiven(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/v1/jobs/x", "/V1/Jobs/x/", "/health", "/v1/plain-fail/bug"])
def test_options_is_answered_without_asking_the_view(client: Client, path: str) -> None:
    response = client.options(path)

    assert (response.status_code, response.content) == (200, b"")
    assert "GET, " in response.headers["Allow"]
    assert response.headers["Allow"].endswith("HEAD, OPTIONS")


def test_options_of_an_unknown_path_is_404(client: Client) -> None:
    assert client.options("/v1/nothing").status_code == 404


def test_every_get_answers_head_without_a_body(client: Client) -> None:
    head, get = client.head("/v1/echo"), client.get("/v1/echo")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_streams_under_asgi_get_the_same_treatment() -> None:
    response = async_to_sync(AsyncClient().get)("/V1/async-FAIL/problem/")

    assert (response.status_code, response.json()["error"]["code"]) == (409, "CONFLICT")
    assert response.headers["X-Request-ID"]


def test_a_request_id_is_kept_or_made(client: Client) -> None:
    assert client.get("/health", HTTP_X_REQUEST_ID="my-id.1").headers["X-Request-ID"] == "my-id.1"
    assert client.get("/health").headers["X-Request-ID"] != client.get("/health").headers["X-Request-ID"]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 81, "ä", "a\nb"])
def test_a_strange_request_id_is_replaced(client: Client, sent: str) -> None:
    made = client.get("/health", HTTP_X_REQUEST_ID=sent).headers["X-Request-ID"]

    assert made != sent
    assert len(made) == 32


@pytest.mark.parametrize("path", ["/", "/v1/echo", "/nothing"])
def test_no_page_of_ours_may_run_foreign_or_inline_scripts(client: Client, path: str) -> None:
    headers = client.get(path).headers

    assert "default-src 'none'; script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_answers_of_the_api_are_not_cached(client: Client) -> None:
    assert client.get("/v1/echo").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("limit=5&tag=a", "limit=5&tag=a"),
        ("key=k&a=1", "key=[redacted]&a=1"),
        ("api_key=k", "api_key=[redacted]"),
        ("stream_token=k", "stream_token=[redacted]"),
        ("X-ApiKey=k", "X-ApiKey=[redacted]"),
        ("api%5Fkey=k", "api%5Fkey=[redacted]"),
        ("monkey=k", "monkey=k"),
    ],
)
def test_the_request_log_hides_credentials(
    client: Client, caplog: pytest.LogCaptureFixture, query: str, shown: str
) -> None:
    with caplog.at_level(logging.INFO, "rauskuclaw.access"):
        client.get(f"/v1/echo?{query}", HTTP_X_REQUEST_ID="r1")

    (line,) = [record.getMessage() for record in caplog.records if record.name == "rauskuclaw.access"]
    assert line.startswith(f"GET /v1/echo?{shown} 200 ")
    assert line.endswith(" ms [r1]")


def test_no_path_can_forge_a_line_of_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rauskuclaw.access"):
        client.get("/v1/jobs/a%0AGET /v1/forged 200")

    assert all("\n" not in record.getMessage() for record in caplog.records if record.name == "rauskuclaw.access")
