"""data.fetch against real TLS servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.handlers.base import AttemptFailed
from jobs.handlers.data_fetch import DataFetch, DataFetchInput, DataFetchOutput
from tests.handlers.conftest import Context
from tests.net.servers import Exchange, Server, serving

Fetch = Callable[..., DataFetchOutput]


@pytest.fixture
def fetch(configure: Callable[..., Any], trusted_ca: None, tmp_path: Path) -> Fetch:
    """Run the handler as an enabled one that may fetch from localhost and fetch.test."""
    configure(DATA_FETCH_ENABLED="yes", DATA_FETCH_ALLOWLIST="localhost,fetch.test")

    def run(url: str, **fields: Any) -> DataFetchOutput:
        given = DataFetchInput.model_validate({"url": url, **fields})
        context: Any = Context(input=given, workspace=tmp_path, cookie="")
        return DataFetch().run(context)

    return run


def at(server: Server, path: str = "/", host: str = "localhost") -> str:
    return f"https://{host}:{server.port}{path}"


def failure(fetch: Fetch, url: str, **fields: Any) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        fetch(url, **fields)
    return caught.value


def test_it_returns_the_contracts_output(fetch: Fetch) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.answer(200, b'{"a": [1, "\xc3\xa4"]}', content_type="application/json; charset=utf-8")

    with serving(answer, tls=True) as server:
        output = fetch(at(server, "/x?y=z")).model_dump()

    assert output.pop("duration_ms") >= 0
    assert output == {
        "ok": True,
        "status": 200,
        "url": at(server, "/x?y=z"),
        "content_type": "application/json; charset=utf-8",
        "body_text": '{"a": [1, "ä"]}',
        "body_json": {"a": [1, "ä"]},
        "truncated": False,
        "bytes_read": 16,
    }
    assert (server.seen[0].method, server.seen[0].headers["accept"]) == ("GET", "*/*")


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_any_status_is_a_successful_job(status: int, fetch: Fetch) -> None:
    with serving(lambda exchange: exchange.answer(status), tls=True) as server:
        output = fetch(at(server))

    assert (output.ok, output.status, output.content_type) == (status == 204, status, None)


def test_a_long_body_is_cut_and_not_parsed(fetch: Fetch) -> None:
    with serving(lambda it: it.answer(200, b'"' + b"x" * 5000, content_type="application/json"), tls=True) as server:
        output = fetch(at(server), max_bytes=600)

    assert (output.truncated, output.bytes_read, len(output.body_text)) == (True, 600, 600)
    assert output.body_json is None


@pytest.mark.parametrize("body", [b"{", b"[NaN]", b"[1e999]", b"[" * 5000 + b"]" * 5000, b"\xff", b""])
def test_what_a_result_cannot_hold_as_json_is_text_only(body: bytes, fetch: Fetch) -> None:
    with serving(lambda exchange: exchange.answer(200, body, content_type="application/json"), tls=True) as server:
        output = fetch(at(server))

    assert output.body_json is None
    assert output.bytes_read == len(body)


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [("iso-8859-1", b"\xe4", "ä"), ("utf-8", b"\xe4", "\ufffd"), ("zip", b"ok", "ok"), ("nonsense", b"ok", "ok")],
)
def test_text_is_decoded_by_its_charset(charset: str, body: bytes, text: str, fetch: Fetch) -> None:
    with serving(lambda it: it.answer(200, body, content_type=f"text/plain; charset={charset}"), tls=True) as server:
        assert fetch(at(server)).body_text == text


def test_a_sub_domain_of_an_allowed_domain_is_allowed_but_not_private(fetch: Fetch, names: Callable[..., None]) -> None:
    names(**{"fetch.test": "127.0.0.1", "a.fetch.test": "127.0.0.1"})
    with serving(lambda exchange: exchange.answer(200), tls=True) as server:
        assert fetch(at(server, host="fetch.test")).ok
        denied = failure(fetch, at(server, host="a.fetch.test"))

    assert (denied.code.name, denied.retryable) == ("POLICY_DENIED", False)
    assert denied.message == "data.fetch refused: the URL's host has a loopback address"


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "localhost.evil.test", "notlocalhost"])
def test_a_host_off_the_allowlist_is_denied_for_good(host: str, fetch: Fetch) -> None:
    denied = failure(fetch, f"https://{host}/")

    assert (denied.code.name, denied.retryable) == ("POLICY_DENIED", False)
    assert denied.message == f"data.fetch refused: the domain {host} is not in DATA_FETCH_ALLOWLIST"


def test_a_redirect_within_the_allowlist_is_followed(fetch: Fetch) -> None:
    def hop(exchange: Exchange) -> None:
        exchange.answer(200, b"there") if exchange.path == "/b" else exchange.answer(302, location="/b")

    with serving(hop, tls=True) as server:
        output = fetch(at(server, "/a"))

    assert (output.body_text, output.url) == ("there", at(server, "/b"))


@pytest.mark.parametrize("location", ["https://127.0.0.1:{port}/", "http://localhost:{port}/", "https://evil.test/"])
def test_a_redirect_off_the_allowlist_or_off_https_is_denied(location: str, fetch: Fetch) -> None:
    def leave(exchange: Exchange) -> None:
        exchange.answer(302, location=location.format(port=exchange.owner.port))

    with serving(leave, tls=True) as server:
        denied = failure(fetch, at(server))

    assert denied.code.name == "POLICY_DENIED"
    assert len(server.seen) == 1


def test_a_redirect_loop_ends(fetch: Fetch) -> None:
    with serving(lambda exchange: exchange.answer(302, location="/"), tls=True) as server:
        failed = failure(fetch, at(server))

    assert failed.message == "data.fetch from localhost failed: more than 5 redirects"
    assert len(server.seen) == 6


def test_a_slow_server_is_a_timeout_worth_another_attempt(fetch: Fetch) -> None:
    def drip(exchange: Exchange) -> None:
        exchange.answer(200, size=60_000)
        while not exchange.owner.stopping.wait(0.02):
            exchange.wfile.write(b"x")

    with serving(drip, tls=True) as server:
        failed = failure(fetch, at(server), timeout_ms=300)

    assert (failed.code.name, failed.retryable) == ("UPSTREAM_ERROR", True)
    assert failed.message == "data.fetch timeout after 300ms"


def test_a_refused_connection_is_worth_another_attempt(fetch: Fetch) -> None:
    with serving(lambda exchange: exchange.answer(200), tls=True) as server:
        pass

    failed = failure(fetch, at(server))

    assert (failed.code.name, failed.retryable) == ("UPSTREAM_ERROR", True)
    assert failed.message.startswith("data.fetch from localhost failed: cannot connect")


def test_it_is_off_by_default_and_that_is_worth_another_attempt(fetch: Fetch, configure: Callable[..., Any]) -> None:
    configure(DATA_FETCH_ENABLED="0")

    failed = failure(fetch, "https://example.com")

    assert (failed.code.name, failed.retryable) == ("HANDLER_DISABLED", True)
    assert failed.message == "DATA_FETCH_ENABLED=1 required for data.fetch"


def test_an_empty_allowlist_denies(fetch: Fetch, configure: Callable[..., Any]) -> None:
    configure(DATA_FETCH_ALLOWLIST="")

    assert failure(fetch, "https://example.com").code.name == "POLICY_DENIED"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "data.fetch requires input.url"),
        ({"url": "http://example.com/"}, "url must use https"),
        ({"url": "example.com"}, "url must use https"),
        ({"url": "https://u:p@example.com/"}, "user name"),
        ({"url": "https://example.com/" + "a" * 4000}, "at most 4000"),
        ({"url": 5}, "string"),
        ({"timeout_ms": 199}, "greater than or equal to 200"),
        ({"timeout_ms": 120_001}, "less than or equal to 120000"),
        ({"timeout_ms": "300"}, "whole number"),
        ({"max_bytes": 511}, "greater than or equal to 512"),
        ({"max_bytes": 1_048_577}, "less than or equal to 1048576"),
    ],
)
def test_bad_input_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataFetchInput.model_validate({"url": "https://example.com/", **given} if given else {})
