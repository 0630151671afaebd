"""The one guard for every URL that came from outside: an HTTP client that reaches public addresses only.

A name is resolved here, EVERY address of the answer is checked, and the connection goes to a checked address, so a
name that changes its answer (DNS rebinding) gains nothing. TLS and the Host header still see the name. No redirect is
followed unless the caller permits the next URL, no proxy or credential is taken from the environment, and one time
limit covers everything a client does, name resolution and slow drips included.

`netguard_async` is the same for coroutines, and shares what judges here.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

import certifi
import httpcore
import httpx

from rauskuclaw.netguard_rules import (
    Address,
    BlockedUrl,
    ParsedUrl,
    as_address,
    check_address,
    check_url,
    host_allowed,
    listed_hosts,
    parse_url,
)

__all__ = [
    "BlockedUrl", "ParsedUrl", "check_url", "guarded_client", "host_allowed", "listed_hosts", "open_url", "parse_url",
    "read_capped", "what_failed",
]  # fmt: skip

Resolver = Callable[[str], Sequence[str]]
"""A host name → its addresses as text, in the order to try them. Raises OSError when there are none."""

USER_AGENT = "rauskuclaw"
HEADERS = {"user-agent": USER_AGENT, "accept-encoding": "identity", "connection": "close"}
"""Sent with every request. A client is for one errand: nothing is kept open after it."""


def guarded_client(
    *,
    timeout_sec: float,
    private_hosts: frozenset[str] = frozenset(),
    resolve: Resolver | None = None,
) -> httpx.Client:
    """An httpx client for one errand: every URL it is given, redirects included, passes the guard.

    timeout_sec: for all that the client does, counted from now; then it raises httpx.TimeoutException.
    private_hosts: hosts (as `listed_hosts` gives them) whose addresses may be loopback or private ones.
    resolve: asks another resolver than the system's.
    Raises, when used: BlockedUrl; httpx.TransportError. Bodies come undecoded; read them with `read_capped`.
    """
    backend = _Backend(private_hosts, resolve or system_resolver, Deadline(timeout_sec))
    return httpx.Client(
        transport=_Transport(backend, private_hosts),
        timeout=timeout_sec,
        trust_env=False,
        follow_redirects=False,
        headers=HEADERS,
    )


@contextmanager
def open_url(
    client: httpx.Client,
    url: str,
    *,
    permit: Callable[[ParsedUrl], None],
    headers: Mapping[str, str] | None = None,
    max_redirects: int = 5,
) -> Iterator[httpx.Response]:
    """GET `url` and follow redirects, each to a URL that `permit` does not refuse by raising BlockedUrl.

    Yields the final answer with its body unread. Raises httpx.TooManyRedirects, and what the client raises.
    """
    for hops_left in range(max_redirects, -1, -1):
        target = parse_url(url)
        permit(target)
        with client.stream("GET", target.url, headers=headers) as response:
            if not response.has_redirect_location:
                yield response
                return
            if not hops_left:
                raise httpx.TooManyRedirects(f"more than {max_redirects} redirects", request=response.request)
            url = next_url(target, response)


def next_url(target: ParsedUrl, response: httpx.Response) -> str:
    """Where a redirect leads, not judged yet. Raises BlockedUrl."""
    try:
        return str(target.url.join(response.headers["location"]))
    except httpx.InvalidURL:
        raise BlockedUrl("the answer redirects to a malformed URL") from None


def read_capped(response: httpx.Response, *, max_bytes: int) -> tuple[bytes, bool]:
    """The first `max_bytes` of a streamed body, unzipped where it is zipped, and whether there was more.

    Never holds more than that and one network chunk, whatever the server sends. Raises httpx.DecodingError.
    """
    body = CappedBody(response, max_bytes)
    for chunk in response.iter_raw():
        if body.add(chunk):
            break
    return body.read()


class CappedBody:
    """A body on its way in, unzipped, of which no more than `max_bytes` are kept."""

    def __init__(self, response: httpx.Response, max_bytes: int) -> None:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise httpx.DecodingError(f"the body has the content-encoding {encoding[:40]!r}, which was not asked for")
        self._unzip = None if encoding in {"", "identity"} else zlib.decompressobj(wbits=47)
        self._max_bytes, self._kept = max_bytes, bytearray()

    def add(self, chunk: bytes) -> bool:
        """Take the next chunk. Whether there is more than is kept, so that the rest need not be read."""
        room = self._max_bytes + 1 - len(self._kept)
        try:
            self._kept += chunk[:room] if self._unzip is None else self._unzip.decompress(chunk, room)
        except zlib.error:
            raise httpx.DecodingError("the body is not what its content-encoding says") from None
        return len(self._kept) > self._max_bytes

    def read(self) -> tuple[bytes, bool]:
        """What is kept, and whether there was more."""
        return bytes(self._kept[: self._max_bytes]), len(self._kept) > self._max_bytes


def what_failed(error: httpx.HTTPError, *, timeout_sec: float) -> str:
    """An error of the client in words, without anything that the server sent."""
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {timeout_sec:g} s"
    if isinstance(error, httpx.ConnectError):
        return f"cannot connect: {error}"
    if isinstance(error, httpx.NetworkError):
        return "the connection broke"
    if isinstance(error, httpx.ProtocolError):
        return "the answer is not valid HTTP"
    return str(error)


def system_resolver(host: str) -> Sequence[str]:
    """The addresses that the operating system knows for a name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@cache
def tls_context() -> ssl.SSLContext:
    """Verifies servers against the system's authorities (SSL_CERT_FILE is honoured) and certifi's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Deadline:
    """One time limit for all that a client does."""

    def __init__(self, timeout_sec: float) -> None:
        self._ends = time.monotonic() + timeout_sec

    def remaining_sec(self) -> float:
        """Above 0. Raises TimeoutError when the time is over."""
        remaining = self._ends - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the time limit is over")
        return remaining


@contextmanager
def raising(timeout: type[Exception], error: type[Exception]) -> Iterator[None]:
    """What the operating system raises, as httpcore's errors."""
    try:
        yield
    except TimeoutError as exception:
        raise timeout(str(exception)) from exception
    except OSError as exception:
        raise error(str(exception)) from exception


Answer = Sequence[str] | OSError | UnicodeError
"""What a name server said of a host."""


def ask(resolve: Resolver, host: str, then: Callable[[Answer], object]) -> None:
    """Resolve a name in a thread of its own, which a silent name server may keep: getaddrinfo knows no time limit."""

    def run() -> None:
        try:
            answer: Answer = resolve(host)
        except (OSError, UnicodeError) as error:
            answer = error
        then(answer)

    threading.Thread(target=run, name="netguard-resolve", daemon=True).start()


def checked(answer: Answer, *, listed: bool) -> list[Address]:
    """The addresses in the answer, all of them good. Raises BlockedUrl for a bad one, OSError when there is none."""
    if isinstance(answer, Exception) or not answer:
        raise OSError("the host name cannot be resolved")
    addresses = [ipaddress.ip_address(text) for text in answer]
    for address in addresses:
        check_address(address, listed=listed)
    return addresses


class _Backend(httpcore.NetworkBackend):
    """Opens the client's connections: resolves, checks every address, connects to a checked one."""

    def __init__(self, private_hosts: frozenset[str], resolve: Resolver, deadline: Deadline) -> None:
        self._private_hosts, self._resolve, self._deadline = private_hosts, resolve, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        with raising(httpcore.ConnectTimeout, httpcore.ConnectError):
            addresses = checked(self._lookup(host), listed=host in self._private_hosts)
            return _Stream(self._connect(addresses, port), self._deadline)

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> NoReturn:
        raise BlockedUrl("local sockets are not for URLs")

    def _lookup(self, host: str) -> Answer:
        if as_address(host) is not None:
            return [host]
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        ask(self._resolve, host, answers.put)
        try:
            return answers.get(timeout=self._deadline.remaining_sec())
        except queue.Empty:
            raise TimeoutError("the host name was not resolved in time") from None

    def _connect(self, addresses: Sequence[Address], port: int) -> socket.socket:
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            try:
                # A share of the time for each, so that one black hole does not hide the next address.
                connection = socket.create_connection((str(address), port), self._deadline.remaining_sec() / left)
            except OSError:
                if left == 1:
                    raise
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
        raise OSError("the host name has no address")


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with the client's time limit; httpcore's own limits start anew each read."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connection, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with raising(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(self._deadline.remaining_sec())
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        with raising(httpcore.WriteTimeout, httpcore.WriteError):
            while view:
                self._socket.settimeout(self._deadline.remaining_sec())
                view = view[self._socket.send(view) :]

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            with raising(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._socket.settimeout(self._deadline.remaining_sec())
                return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname), self._deadline)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        return None


class _Transport(httpx.BaseTransport):
    """httpx on a httpcore pool with the guarded backend, through public interfaces only: it cannot fail open."""

    def __init__(self, backend: _Backend, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls_context(), max_keepalive_connections=0, network_backend=backend
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = checked_target(request, self._private_hosts)
        with as_httpx(request):
            answer = self._pool.handle_request(
                httpcore.Request(request.method, target, headers=request.headers.raw, content=request.stream)
            )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer, request))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    def __iter__(self) -> Iterator[bytes]:
        with as_httpx(self._request):
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


_TRANSPORT_ERRORS = (
    httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol
)  # fmt: skip


def checked_target(request: httpx.Request, private_hosts: frozenset[str]) -> httpcore.URL:
    """The request's URL, which the guard lets pass. Raises BlockedUrl."""
    url = check_url(str(request.url), private_hosts=private_hosts).url
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


@contextmanager
def as_httpx(request: httpx.Request) -> Iterator[None]:
    """httpcore's errors, as httpx's."""
    try:
        yield
    except _TRANSPORT_ERRORS as error:
        # httpx names its exceptions as httpcore does.
        raise getattr(httpx, type(error).__name__)(str(error), request=request) from error
