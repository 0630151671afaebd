"""tools.web_search against a real server that speaks as the providers do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from jobs.handlers.base import AttemptFailed, Retry
from jobs.handlers.web_search import WebSearch, WebSearchInput, WebSearchOutput
from tests.handlers.conftest import Context
from tests.net.servers import Exchange, Server, serving

KEY = "brave-key-nobody-may-see"

TOPICS = {
    "Heading": "Postgres",
    "AbstractURL": "https://postgres.example/",
    "AbstractText": "A   database.",
    "RelatedTopics": [
        {"FirstURL": "https://a.example/", "Text": "Alpha - the first letter"},
        {"Name": "Group", "Topics": [{"FirstURL": "https://b.example/", "Text": "Beta"}, "nonsense"]},
        {"FirstURL": "https://a.example/", "Text": "Alpha again"},
        {"FirstURL": "ftp://c.example/", "Text": "no web address"},
        {"FirstURL": "https://d.example/" + "x" * 2000, "Text": "too long"},
    ],
}
PAGE = b"""<html><body>
<a class="result__a" href="//duckduckgo.com/y.js?ad=1">Advertisement</a><a class="result__snippet">Buy</a>
<h2><a rel="nofollow" class="result__a" href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fa.example%2F%3Fx%3D1&amp;rut=9">
  The <b>first</b> &amp; best</a></h2>
<a class="result__snippet" href="/x">A <b>snippet</b>
  of text</a>
<a class="result__a" href="https://b.example/">Second</a>
<a class="result__a" href="http://[broken">Broken</a>
</body></html>"""


def json_answer(value: Any) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.answer(200, json.dumps(value).encode(), content_type="application/x-javascript")


def only_the_page(exchange: Exchange) -> None:
    """DuckDuckGo where its JSON service knows nothing."""
    exchange.answer(200, PAGE) if exchange.path.startswith("/html/") else exchange.answer(200, b'{"RelatedTopics":[]}')


@pytest.fixture
def search(configure: Callable[..., Any], tmp_path: Path) -> Callable[..., WebSearchOutput]:
    """Run the handler, enabled, with a server as both providers."""

    def run(server: Server, **given: Any) -> WebSearchOutput:
        base = f"http://127.0.0.1:{server.port}"
        configure(
            WEB_SEARCH_ENABLED=1,
            WEB_SEARCH_BASE_URL=f"{base}/",
            WEB_SEARCH_BRAVE_ENDPOINT=f"{base}/brave",
            WEB_SEARCH_BRAVE_API_KEY=KEY,
        )
        asked = WebSearchInput.model_validate({"query": "skip locked", **given})
        context: Any = Context(input=asked, workspace=tmp_path, cookie="")
        return WebSearch().run(context)

    return run


Search = Callable[..., WebSearchOutput]


def failure(search: Search, server: Server, **given: Any) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        search(server, **given)
    return caught.value


def test_duckduckgos_topics_are_the_results(search: Search) -> None:
    with serving(json_answer(TOPICS)) as server:
        output = search(server)

    assert output.model_dump() == {
        "ok": True,
        "query": "skip locked",
        "provider": "duckduckgo",
        "result_count": 3,
        "results": [
            {"title": "Postgres", "url": "https://postgres.example/", "snippet": "A database."},
            {"title": "Alpha", "url": "https://a.example/", "snippet": "Alpha - the first letter"},
            {"title": "Beta", "url": "https://b.example/", "snippet": "Beta"},
        ],
    }
    assert server.seen[0].path == "/?format=json&no_html=1&no_redirect=1&skip_disambig=1&q=skip+locked"


def test_without_topics_the_result_page_is_read(search: Search) -> None:
    with serving(only_the_page) as server:
        output = search(server)

    assert output.provider == "duckduckgo_html_fallback"
    assert [result.model_dump() for result in output.results] == [
        {"title": "The first & best", "url": "https://a.example/?x=1", "snippet": "A snippet of text"},
        {"title": "Second", "url": "https://b.example/", "snippet": ""},
    ]


def test_braves_results_come_without_markup(search: Search) -> None:
    hit = {"title": "<b>T</b>", "url": "https://a.example/", "description": "x &amp; <strong>y</strong>"}
    with serving(json_answer({"web": {"results": [hit, {"url": 5}, "nonsense"]}})) as server:
        output = search(server, provider="brave", max_results=7)

    [seen] = server.seen
    assert parse_qs(urlsplit(seen.path).query) == {"q": ["skip locked"], "count": ["7"]}
    assert seen.headers["x-subscription-token"] == KEY
    assert (output.provider, output.result_count) == ("brave", 1)
    assert output.results[0].model_dump() == {"title": "T", "url": "https://a.example/", "snippet": "x & y"}


def test_results_are_cut_to_the_contracts_lengths_and_number(search: Search) -> None:
    many = [{"FirstURL": f"https://{n}.example/", "Text": "x" * 3000} for n in range(30)]
    with serving(json_answer({"RelatedTopics": many})) as server:
        output = search(server, max_results=20)

    assert output.result_count == len(output.results) == 20
    assert (len(output.results[0].title), len(output.results[0].snippet)) == (200, 1200)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (403, False), (422, False), (429, True), (500, True), (503, True)],
)
def test_a_refusal_is_final_and_a_fault_is_not(status: int, retryable: bool, search: Search) -> None:
    with serving(lambda exchange: exchange.answer(status)) as server:
        failed = failure(search, server, provider="brave")

    assert (failed.code.name, failed.retryable) == ("UPSTREAM_ERROR", retryable)
    assert failed.message == f"the search provider answered HTTP {status}"


def test_a_busy_provider_says_when_to_come_back(search: Search) -> None:
    with serving(lambda exchange: exchange.answer(429, retry_after="17")) as server:
        failed = failure(search, server)

    assert isinstance(failed, Retry)
    assert failed.after_sec == 17


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b"[" * 100_000, b"x" * 3_000_000])
def test_an_answer_that_is_not_theirs_is_an_upstream_error(body: bytes, search: Search) -> None:
    with serving(lambda exchange: exchange.answer(200, body)) as server:
        assert failure(search, server).code.name == "UPSTREAM_ERROR"


@pytest.mark.parametrize(
    "value", [[], None, 5, {"RelatedTopics": 7}, {"RelatedTopics": [{"Topics": {}}], "Heading": []}]
)
def test_json_of_another_shape_holds_no_results(value: Any, search: Search) -> None:
    with serving(json_answer(value)) as server:
        assert search(server).result_count == 0


def test_a_silent_provider_is_a_timeout(search: Search) -> None:
    with serving(lambda exchange: exchange.owner.stopping.wait()) as server:
        failed = failure(search, server, timeout_ms=300)

    assert failed.message == "tools.web_search timeout after 300ms"


def test_a_redirect_to_a_strange_host_is_denied(search: Search) -> None:
    with serving(lambda exchange: exchange.answer(302, location="https://evil.test/")) as server:
        assert failure(search, server).code.name == "POLICY_DENIED"


def test_the_brave_key_follows_no_redirect_and_reaches_no_error(search: Search) -> None:
    with serving(lambda exchange: exchange.answer(302, location="/other")) as server:
        failed = failure(search, server, provider="brave")

    assert [urlsplit(seen.path).path for seen in server.seen] == ["/brave"]
    assert KEY not in f"{failed.message} {failed.details}"


def test_it_is_off_by_default(configure: Callable[..., Any], tmp_path: Path) -> None:
    configure()
    context: Any = Context(input=WebSearchInput(query="x"), workspace=tmp_path, cookie="")

    with pytest.raises(AttemptFailed, match="WEB_SEARCH_ENABLED=1 required"):
        WebSearch().run(context)


def test_brave_without_its_key_is_switched_off(configure: Callable[..., Any], tmp_path: Path) -> None:
    configure(WEB_SEARCH_ENABLED=1, WEB_SEARCH_PROVIDER="brave")
    context: Any = Context(input=WebSearchInput(query="x"), workspace=tmp_path, cookie="")

    with pytest.raises(AttemptFailed, match="WEB_SEARCH_BRAVE_API_KEY required"):
        WebSearch().run(context)


def test_q_is_another_name_for_query() -> None:
    assert WebSearchInput.model_validate({"query": " ", "q": " words "}).query == "words"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query": ""}, "tools.web_search requires input.query"),
        ({"query": 5}, "string"),
        ({"query": "x" * 501}, "at most 500"),
        ({"provider": "google"}, "'duckduckgo' or 'brave'"),
        ({"max_results": 0}, "greater than or equal to 1"),
        ({"max_results": 21}, "less than or equal to 20"),
        ({"timeout_ms": 199}, "greater than or equal to 200"),
        ({"timeout_ms": 120_001}, "less than or equal to 120000"),
    ],
)
def test_bad_input_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WebSearchInput.model_validate({"query": "x", **given})
