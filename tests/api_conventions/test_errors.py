"""Every fault is told in the one envelope, wherever it arises."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client

from rauskuclaw.api.errors import csrf_failure

pytestmark = pytest.mark.urls("tests.api_conventions.urls")

CASES = [
    ("problem", 409, "CONFLICT"),
    ("invalid", 400, "VALIDATION_ERROR"),
    ("anonymous", 401, "UNAUTHORIZED"),
    ("denied", 403, "FORBIDDEN"),
    ("missing", 404, "NOT_FOUND"),
    ("throttled", 429, "RATE_LIMITED"),
    ("database", 503, "DATABASE_UNAVAILABLE"),
    ("data", 400, "VALIDATION_ERROR"),
    ("bug", 500, "INTERNAL_ERROR"),
]


@pytest.fixture
def web() -> Client:
    return Client(raise_request_exception=False)


def fault(response: Any) -> dict[str, Any]:
    body = json.loads(response.content)
    assert body["ok"] is False
    assert set(body) == {"ok", "error"}
    error: dict[str, Any] = body["error"]
    assert error["message"]
    return error


@pytest.mark.parametrize("where", ["fail", "plain-fail", "async-fail"])
@pytest.mark.parametrize(("name", "status", "code"), CASES)
def test_any_exception_of_any_kind_of_view_becomes_the_envelope(
    web: Client, where: str, name: str, status: int, code: str
) -> None:
    response = web.get(f"/v1/{where}/{name}")

    assert response.status_code == status
    assert fault(response)["code"] == code


def test_nothing_of_a_bug_is_told_and_all_of_it_is_logged(web: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "rauskuclaw.api"):
        response = web.get("/v1/fail/bug", HTTP_X_REQUEST_ID="req-7")

    assert fault(response)["details"] == {"request_id": "req-7"}
    assert b"secret-in-a-traceback" not in response.content
    assert "[req-7]" in caplog.text
    assert "ZeroDivisionError: secret-in-a-traceback" in caplog.text


def test_a_lost_database_says_when_to_come_back_and_not_where_it_is(web: Client) -> None:
    response = web.get("/v1/fail/database")

    assert response.headers["Retry-After"] == "2"
    assert b"10.0.0.7" not in response.content


def test_faulty_fields_are_named_by_path(web: Client) -> None:
    assert fault(web.get("/v1/fail/invalid"))["details"]["errors"] == [
        {"path": "jobs[1].priority", "message": "Too high."},
        {"path": "", "message": "No."},
    ]


def test_a_throttled_client_is_told_the_whole_seconds_to_wait(web: Client) -> None:
    assert web.get("/v1/fail/throttled").headers["Retry-After"] == "7"


def test_a_401_names_its_scheme(web: Client) -> None:
    assert web.get("/v1/fail/anonymous").headers["WWW-Authenticate"] == "ApiKey"


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_a_wrong_method_is_told_the_right_ones(web: Client, method: str) -> None:
    response = getattr(web, method)("/v1/echo")

    assert (response.status_code, fault(response)["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ("{", "application/json", 400, "INVALID_JSON"),
        ('{"text": "\\u0000"}', "application/json", 400, "INVALID_JSON"),
        ("a=1", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("{}", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"x" * 1_048_577, "application/json", 413, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_a_body_that_is_not_acceptable_is_refused(
    web: Client, body: Any, content_type: str, status: int, code: str
) -> None:
    response = web.generic("POST", "/v1/echo", body, content_type=content_type)

    assert (response.status_code, fault(response)["code"]) == (status, code)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_an_empty_body_is_an_empty_object_whatever_its_type(web: Client, content_type: str) -> None:
    response = web.generic("POST", "/v1/echo", b"", content_type=content_type)

    assert (response.status_code, response.json()) == (201, {"ok": True, "body": {}})


def test_json_answers_are_one_line_of_plain_utf8(web: Client) -> None:
    response = web.post("/v1/echo", '{"text": "ä\\u2028"}', content_type="application/json; charset=utf-8")

    assert response.content == '{"ok":true,"body":{"text":"ä\u2028"}}'.encode()


def test_a_client_that_does_not_accept_json_is_told_so_in_json(web: Client) -> None:
    response = web.get("/v1/echo", HTTP_ACCEPT="image/png")

    assert (response.status_code, fault(response)["code"]) == (406, "NOT_ACCEPTABLE")


def test_unknown_paths_are_json_under_the_api_and_a_page_elsewhere(web: Client) -> None:
    assert fault(web.get("/v1/nothing"))["code"] == "NOT_FOUND"

    page = web.get("/nothing")

    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"NOT_FOUND" in page.content


def test_a_page_tells_of_a_lost_database_too(web: Client) -> None:
    page = web.get("/page-fail/database")

    assert page.status_code == 503
    assert b"The database does not answer" in page.content


def test_an_unknown_host_is_told_what_to_configure(web: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["other.example"]

    error = fault(web.get("/v1/echo", HTTP_HOST="evil.example"))

    assert "ALLOWED_HOSTS" in error["message"]


def test_an_oversized_form_is_413(web: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    response = web.post("/v1/form", "a=" + "b" * 100, content_type="application/x-www-form-urlencoded")

    assert (response.status_code, fault(response)["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_form_without_its_csrf_token_is_told_what_to_send() -> None:
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)

    error = fault(strict.post("/v1/form", {"a": "b"}))

    assert error["code"] == "CSRF_FAILED"
    assert "X-CSRFToken" in error["message"]


def test_csrf_failures_of_pages_are_pages() -> None:
    request = HttpRequest()
    request.path_info = "/admin/"

    assert csrf_failure(request, "CSRF token missing.").headers["Content-Type"].startswith("text/html")
