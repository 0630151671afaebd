"""What the libraries of OpenAI and Anthropic share: their HTTP client, and how their errors are told.

One address, no redirects, which would carry the key elsewhere; perhaps through the Holvi proxy. Addresses come from the
operator's settings alone, never from a job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import httpx2

from providers.faults import MAX_MESSAGE_CHARS, Fault, http_fault, network_fault, protocol_fault, timeout_fault
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.netguard import tls_context

HOLVI_PATH = "/v1/proxy/http"


def client(url: str, *, alias: str, connect_sec: float, silence_sec: float) -> httpx2.AsyncClient:
    """A client whose every request goes to `url`, whatever path its library thinks of.

    alias: name of the secret that the Holvi proxy is to add; "" asks the provider directly.
    silence_sec: longest wait for the next bytes.
    """

    async def aim(request: httpx2.Request) -> None:
        request.url = httpx2.URL(url)
        request.headers["host"] = request.url.netloc.decode()

    timeout = httpx2.Timeout(silence_sec, connect=connect_sec)
    direct: dict[str, Any] = {"verify": tls_context()}
    return httpx2.AsyncClient(
        timeout=timeout,
        follow_redirects=False,
        event_hooks={"request": [aim]},
        **({"transport": _Holvi(alias, timeout)} if alias else direct),
    )


class Library(Protocol):
    """What the libraries of OpenAI and Anthropic have in common: they come from one generator."""

    APIError: type[Exception]
    APIConnectionError: type[Exception]
    APITimeoutError: type[Exception]
    APIStatusError: type[Exception]


@contextmanager
def told_by(library: Library, who: str, *, silence_sec: float) -> Iterator[None]:
    """Turn what the library raises into a Fault. who: the provider, for messages."""
    try:
        yield
    except library.APITimeoutError:
        raise timeout_fault(who, silence_sec) from None
    except library.APIStatusError as error:
        answer: Any = error
        if answer.status_code < 300:  # in a stream that had begun well
            raise Fault(errors.PROVIDER_RESPONSE, f"{who} broke off: {_said(answer)[:MAX_MESSAGE_CHARS]}") from None
        raise http_fault(who, answer.status_code, _said(answer), answer.response.headers) from None
    except library.APIConnectionError as error:
        raise network_fault(who, error.__cause__ or error) from None
    except library.APIError as error:
        raise Fault(errors.PROVIDER_RESPONSE, f"{who} broke off: {str(error)[:MAX_MESSAGE_CHARS]}") from None
    # One of the two lets these through while it reads a stream.
    except httpx2.TimeoutException:
        raise timeout_fault(who, silence_sec) from None
    except httpx2.TransportError as error:
        raise network_fault(who, error) from None
    except ValueError as error:  # no JSON
        raise protocol_fault(who, error) from None


@contextmanager
def reading(who: str) -> Iterator[None]:
    """Around what reads an answer: the libraries do not check its shape."""
    try:
        yield
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise protocol_fault(who, error) from None


class _Holvi(httpx2.AsyncBaseTransport):
    """Sends each request to the proxy, which adds the secret and gives the whole answer back (contract 7.2, 14.5)."""

    def __init__(self, alias: str, timeout: httpx2.Timeout) -> None:
        config = load()
        if config.holvi_proxy_token is None:
            raise Fault(errors.PROVIDER_CONFIG, "no HOLVI_PROXY_TOKEN: the Holvi proxy lets nobody in without one")
        self._alias = alias
        self._proxy = httpx2.AsyncClient(
            base_url=config.holvi_base_url,
            headers={"x-proxy-token": config.holvi_proxy_token.get_secret_value()},
            timeout=timeout,
            follow_redirects=False,
            verify=tls_context(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises TransportError: for the caller, a proxy that fails is a network that fails."""
        wanted = {
            "method": request.method,
            "url": str(request.url),
            "headers": {"content-type": "application/json"},
            "body": json.loads(await request.aread()),
        }
        answer = await self._proxy.post(HOLVI_PATH, json={"secret_alias": self._alias, "request": wanted})
        if answer.status_code != 200:
            raise httpx2.ConnectError(f"the Holvi proxy answered with status {answer.status_code}", request=request)
        try:
            told = answer.json()
            headers = {name: str(value) for name, value in (told.get("headers") or {}).items()}
            kept = {name: value for name, value in headers.items() if name.lower() in {"content-type", "retry-after"}}
            return httpx2.Response(int(told["status"]), headers=kept, content=str(told["body"]), request=request)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise httpx2.RemoteProtocolError(
                f"the Holvi proxy did not answer as one ({type(error).__name__})", request=request
            ) from None

    async def aclose(self) -> None:
        """Close the connection to the proxy."""
        await self._proxy.aclose()


def _said(error: Any) -> str:
    """The message of an error object, whoever's; of an HTML page only that it was one."""
    body = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        text = inner.get("message") if isinstance(inner, Mapping) else inner
        return str(text or "")
    text = str(body or "").strip()
    return "an HTML page" if text.startswith("<") else text
