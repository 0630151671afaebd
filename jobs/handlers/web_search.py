"""`tools.web_search`: ask DuckDuckGo or Brave (contract 6.12)."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from access import runtime_tools
from jobs.handlers.base import AsyncHandler, AsyncJobContext, AttemptFailed, Needs, Retry
from jobs.handlers.fields import ObjectInput, WholeNumber
from jobs.handlers.upstream import failing_as
from rauskuclaw import errors
from rauskuclaw.config import Config
from rauskuclaw.netguard import (
    BlockedUrl,
    ParsedUrl,
    host_allowed,
    parse_url,
)
from rauskuclaw.netguard_async import guarded_client, open_url, read_capped

MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_RETRY_AFTER_SEC = 3600
MAX_URL_CHARS = 2000
MAX_FIELD_CHARS = 8000
_BUSY = frozenset({408, 425, 429})
"""Client errors that pass by themselves."""

Provider = Literal["duckduckgo", "brave"]
AnsweredBy = Literal["duckduckgo", "duckduckgo_html_fallback", "brave"]


class WebSearchInput(ObjectInput):
    """What to search for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "postgres skip locked", "max_results": 3}]})
    aliases = {"query": ("q",)}
    required = ("tools.web_search", "query")

    query: Annotated[str, StringConstraints(strict=True, strip_whitespace=True, max_length=500)] = Field(
        description="The search words (alias: `q`)."
    )
    provider: Provider | None = Field(None, description="WEB_SEARCH_PROVIDER where absent.")
    max_results: WholeNumber | None = Field(
        None, ge=1, le=20, description="Most results to return; WEB_SEARCH_MAX_RESULTS where absent."
    )
    timeout_ms: WholeNumber | None = Field(
        None, ge=200, le=120_000, description="Time limit in milliseconds; WEB_SEARCH_TIMEOUT_MS where absent."
    )


class SearchResult(BaseModel):
    """One hit."""

    title: str
    url: str
    snippet: str


class WebSearchOutput(BaseModel):
    """The hits, best first, no URL twice. `provider`: who answered."""

    ok: bool = True
    query: str
    provider: AnsweredBy
    result_count: int
    results: list[SearchResult]


class _Hit(NamedTuple):
    title: str
    url: str
    snippet: str


class WebSearch(AsyncHandler[WebSearchInput, WebSearchOutput]):
    """Searches at the provider whose address the operator configured; that host may therefore be a private one."""

    id = "builtin:tools.web_search"
    Input = WebSearchInput
    Output = WebSearchOutput
    needs = Needs(network=True)

    async def arun(self, ctx: AsyncJobContext[WebSearchInput]) -> WebSearchOutput:
        """Raises AttemptFailed: HANDLER_DISABLED; POLICY_DENIED; UPSTREAM_ERROR, for good where it refuses us (4xx)."""
        config = await runtime_tools.aeffective()
        if not config.web_search_enabled:
            raise AttemptFailed(errors.HANDLER_DISABLED, "WEB_SEARCH_ENABLED=1 required for tools.web_search")
        asked = ctx.input
        provider = asked.provider or config.web_search_provider
        count = asked.max_results or config.web_search_max_results
        timeout_ms = asked.timeout_ms or config.web_search_timeout_ms
        ctx.log("Executing web search", provider=provider, max_results=count, timeout_ms=timeout_ms)
        address = config.web_search_brave_endpoint if provider == "brave" else config.web_search_base_url
        with failing_as("tools.web_search", f"at {provider}", timeout_ms=timeout_ms):
            configured = frozenset({parse_url(address).host})
            async with guarded_client(timeout_sec=timeout_ms / 1000, private_hosts=configured) as client:
                search = _brave if provider == "brave" else _duckduckgo
                name, hits = await search(client, config, asked.query, count)
        results = list(_results(hits))[:count]
        return WebSearchOutput(query=asked.query, provider=name, result_count=len(results), results=results)


async def _brave(client: httpx.AsyncClient, config: Config, query: str, count: int) -> tuple[AnsweredBy, list[_Hit]]:
    key = config.web_search_brave_api_key
    if key is None or not key.get_secret_value():
        raise AttemptFailed(errors.HANDLER_DISABLED, "WEB_SEARCH_BRAVE_API_KEY required for the provider brave")
    url = f"{config.web_search_brave_endpoint}?{urlencode({'q': query, 'count': count})}"
    headers = {"accept": "application/json", "x-subscription-token": key.get_secret_value()}
    # No redirects: the key is for the configured address alone.
    found = _object(_json(await _get(client, url, headers=headers, max_redirects=0)).get("web")).get("results")
    hits = [_Hit(_text(item, "title"), _text(item, "url"), _text(item, "description")) for item in _objects(found)]
    return "brave", [_Hit(_unmarked(hit.title), hit.url, _unmarked(hit.snippet)) for hit in hits]


async def _duckduckgo(
    client: httpx.AsyncClient, config: Config, query: str, _count: int
) -> tuple[AnsweredBy, list[_Hit]]:
    base = config.web_search_base_url.rstrip("/")
    asked = urlencode({"format": "json", "no_html": 1, "no_redirect": 1, "skip_disambig": 1, "q": query})
    answer = _json(await _get(client, f"{base}/?{asked}"))
    hits = [_Hit(_text(answer, "Heading"), _text(answer, "AbstractURL"), _text(answer, "AbstractText"))]
    hits += _topics(answer.get("RelatedTopics"))
    if any(_results(hits)):
        return "duckduckgo", hits
    # The JSON service knows topics, not the web; its web results exist as a page only.
    body = await _get(client, f"{base}/html/?{urlencode({'q': query})}")
    # A page of 2 MB takes a second to parse; the event loop has others to serve.
    return "duckduckgo_html_fallback", await asyncio.to_thread(_hits_on, body)


def _hits_on(body: bytes) -> list[_Hit]:
    page = _ResultPage()
    page.feed(body.decode("utf-8", "replace"))
    return page.hits


def _topics(value: Any) -> Iterator[_Hit]:
    """DuckDuckGo's related topics; groups hold more of them."""
    for item in _objects(value):
        for topic in (item, *_objects(item.get("Topics"))):
            text = _text(topic, "Text")
            yield _Hit(text.split(" - ", 1)[0], _text(topic, "FirstURL"), text)


class _ResultPage(HTMLParser):
    """The hits of DuckDuckGo's page without scripts: links of class result__a, then their result__snippet."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[_Hit] = []
        self._field = self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        classes = (attributes.get("class") or "").split()
        if "result__a" in classes:
            self.hits.append(_Hit("", _target(attributes.get("href") or ""), ""))
            self._field, self._tag = "title", tag
        elif "result__snippet" in classes and self.hits:
            self._field, self._tag = "snippet", tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._tag:
            self._field = self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._field:
            last = self.hits[-1]
            self.hits[-1] = last._replace(**{self._field: getattr(last, self._field) + data})


def _target(href: str) -> str:
    """Where a link of the result page leads: DuckDuckGo wraps it (`/l/?uddg=…`). Empty for advertisements."""
    try:
        parts = urlsplit(urljoin("https://duckduckgo.com/html/", href))
    except ValueError:
        return ""
    if parts.path == "/y.js":
        return ""
    return parse_qs(parts.query).get("uddg", [parts.geturl()])[0]


async def _get(
    client: httpx.AsyncClient, url: str, *, headers: Mapping[str, str] | None = None, max_redirects: int = 5
) -> bytes:
    """The body of a 2xx answer. Raises AttemptFailed UPSTREAM_ERROR, which only what may pass lets be tried again."""
    asked = parse_url(url)

    def permit(target: ParsedUrl) -> None:
        if not host_allowed(target.host, (asked.host, "duckduckgo.com")):
            raise BlockedUrl(f"the search provider redirects to another host, {target.host}")
        if target.url.scheme not in {"https", asked.url.scheme}:
            raise BlockedUrl("the search provider redirects from https to http")

    async with open_url(client, url, permit=permit, headers=headers, max_redirects=max_redirects) as response:
        status = response.status_code
        message = f"the search provider answered HTTP {status}"
        if status in _BUSY:
            raise Retry(message, after_sec=_retry_after_sec(response.headers.get("retry-after", "")))
        if not response.is_success:
            raise AttemptFailed(errors.UPSTREAM_ERROR, message, {"status": status}, retryable=status >= 500)
        body, truncated = await read_capped(response, max_bytes=MAX_ANSWER_BYTES)
    if truncated:
        raise AttemptFailed(errors.UPSTREAM_ERROR, f"the search provider answered more than {MAX_ANSWER_BYTES} bytes")
    return body


def _retry_after_sec(header: str) -> float | None:
    return min(float(header), MAX_RETRY_AFTER_SEC) if re.fullmatch(r"[0-9]{1,9}", header.strip()) else None


def _json(body: bytes) -> dict[str, Any]:
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError):
        raise AttemptFailed(errors.UPSTREAM_ERROR, "the search provider's answer is not JSON") from None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    return value[:MAX_FIELD_CHARS] if isinstance(value, str) else ""


def _unmarked(text: str) -> str:
    """Brave marks the words it found with tags."""
    return html.unescape(re.sub(r"<[^<>]*>", "", text))


def _results(hits: Iterable[_Hit]) -> Iterator[SearchResult]:
    """What can be shown of `hits`: web addresses, each once, texts on one line and cut to the contract's lengths."""
    seen = set()
    for title, url, snippet in hits:
        if re.match(r"https?://", url, re.IGNORECASE) and len(url) <= MAX_URL_CHARS and url not in seen:
            seen.add(url)
            shown = " ".join(title.split()) or url
            yield SearchResult(title=shown[:200], url=url, snippet=" ".join(snippet.split())[:1200])
