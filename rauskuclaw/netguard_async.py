"""The guard of `netguard`, for coroutines: the same checks, the same time limit, the same names.

A cancelled request closes its connection at once. That is why handlers that wait for the network use this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, cast

import httpcore
import httpx

from rauskuclaw import netguard
from rauskuclaw.netguard import Answer, CappedBody, Deadline, Resolver, as_httpx, raising
from rauskuclaw.netguard_rules import Address, BlockedUrl, ParsedUrl, as_address, parse_url

__all__ = ["guarded_client", "open_url", "read_capped"]


def guarded_client(
    *,
    timeout_sec: float,
    private_hosts: frozenset[str] = frozenset(),
    resolve: Resolver | None = None,
) -> httpx.AsyncClient:
    """An httpx client for one errand, as `netguard.guarded_client` makes; in an event loop of asyncio."""
    backend = _Backend(private_hosts, resolve or netguard.system_resolver, Deadline(timeout_sec))
    return httpx.AsyncClient(
        transport=_Transport(backend, private_hosts),
        timeout=timeout_sec,
        trust_env=False,
        follow_redirects=False,
        headers=netguard.HEADERS,
    )


@asynccontextmanager
async def open_url(
    client: httpx.AsyncClient,
    url: str,
    *,
    permit: Callable[[ParsedUrl], None],
    headers: Mapping[str, str] | None = None,
    max_redirects: int = 5,
) -> AsyncIterator[httpx.Response]:
    """GET `url` and follow redirects, as `netguard.open_url` does."""
    for hops_left in range(max_redirects, -1, -1):
        target = parse_url(url)
        permit(target)
        async with client.stream("GET", target.url, headers=headers) as response:
            if not response.has_redirect_location:
                yield response
                return
            if not hops_left:
                raise httpx.TooManyRedirects(f"more than {max_redirects} redirects", request=response.request)
            url = netguard.next_url(target, response)


async def read_capped(response: httpx.Response, *, max_bytes: int) -> tuple[bytes, bool]:
    """The first `max_bytes` of a streamed body, as `netguard.read_capped` gives them."""
    body = CappedBody(response, max_bytes)
    # httpx says iterator and means generator; unless closed here, it would be at some later time.
    async with contextlib.aclosing(cast(AsyncGenerator[bytes, None], response.aiter_raw())) as chunks:
        async for chunk in chunks:
            if body.add(chunk):
                break
    return body.read()


class _Backend(httpcore.AsyncNetworkBackend):
    """Opens the client's connections: resolves, checks every address, connects to a checked one."""

    def __init__(self, private_hosts: frozenset[str], resolve: Resolver, deadline: Deadline) -> None:
        self._private_hosts, self._resolve, self._deadline = private_hosts, resolve, deadline
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with raising(httpcore.ConnectTimeout, httpcore.ConnectError):
            addresses = netguard.checked(await self._lookup(host), listed=host in self._private_hosts)
            return _Stream(await self._connect(addresses, port), self._deadline)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> NoReturn:
        raise BlockedUrl("local sockets are not for URLs")

    async def _lookup(self, host: str) -> Answer:
        if as_address(host) is not None:
            return [host]
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def take(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        def hand_over(answer: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended before the name server answered
                loop.call_soon_threadsafe(take, answer)

        netguard.ask(self._resolve, host, hand_over)
        try:
            async with asyncio.timeout(self._deadline.remaining_sec()):
                return await answered
        except TimeoutError:
            raise TimeoutError("the host name was not resolved in time") from None

    async def _connect(self, addresses: Sequence[Address], port: int) -> httpcore.AsyncNetworkStream:
        for left in range(len(addresses), 0, -1):
            # A share of the time for each, so that one black hole does not hide the next address.
            share_sec = self._deadline.remaining_sec() / left
            try:
                return await self._plain.connect_tcp(str(addresses[-left]), port, timeout=share_sec)
            except httpcore.ConnectTimeout:
                if left == 1:
                    raise
            except httpcore.ConnectError as error:
                if left == 1:
                    raise httpcore.ConnectError(_reason(error)) from error
        raise OSError("the host name has no address")


def _reason(error: BaseException) -> str:
    """What the operating system said, without the address that asyncio adds to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    number = error.errno if isinstance(error, OSError) else None
    return str(error) if number is None else str(OSError(number, os.strerror(number)))


class _Stream(httpcore.AsyncNetworkStream):
    """A connection whose every wait ends with the client's time limit; httpcore's own limits start anew each read."""

    def __init__(self, plain: httpcore.AsyncNetworkStream, deadline: Deadline) -> None:
        self._plain, self._deadline = plain, deadline

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with raising(httpcore.ReadTimeout, httpcore.ReadError):
            return await self._plain.read(max_bytes, self._deadline.remaining_sec())

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with raising(httpcore.WriteTimeout, httpcore.WriteError):
            await self._plain.write(buffer, self._deadline.remaining_sec())

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        with raising(httpcore.ConnectTimeout, httpcore.ConnectError):
            remaining_sec = self._deadline.remaining_sec()
            return _Stream(await self._plain.start_tls(ssl_context, server_hostname, remaining_sec), self._deadline)

    async def aclose(self) -> None:
        await self._plain.aclose()

    def get_extra_info(self, info: str) -> Any:
        return None


class _Transport(httpx.AsyncBaseTransport):
    """httpx on a httpcore pool with the guarded backend, through public interfaces only: it cannot fail open."""

    def __init__(self, backend: _Backend, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=netguard.tls_context(), max_keepalive_connections=0, network_backend=backend
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = netguard.checked_target(request, self._private_hosts)
        with as_httpx(request):
            answer = await self._pool.handle_async_request(
                httpcore.Request(request.method, target, headers=request.headers.raw, content=request.stream)
            )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer, request))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with as_httpx(self._request):
            async for chunk in self._answer.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()
