"""The guarded client against real servers: what it reaches, what it refuses, and that nothing holds it up.

Every test runs twice: with the guard for threads and with the one for coroutines.
"""

from __future__ import annotations

import gzip
import socket
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import anyio
import httpx
import pytest

from rauskuclaw.netguard import BlockedUrl, ParsedUrl, guarded_client, listed_hosts, open_url, read_capped, what_failed
from tests.net import coroutines
from tests.net.servers import Exchange, Server, serving

LOCAL = listed_hosts(["localhost", "127.0.0.1"])
PUBLIC = "93.184.215.14"


@pytest.fixture(params=["threads", "coroutines"], autouse=True)
def guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two guards a test uses by the names it imported above."""
    if request.param == "coroutines":
        for name in ("guarded_client", "open_url", "read_capped"):
            monkeypatch.setattr(sys.modules[__name__], name, getattr(coroutines, name))
    return str(request.param)


def hello(exchange: Exchange) -> None:
    exchange.answer(200, b"hello")


def anything(_target: ParsedUrl) -> None:
    """A permit for every redirect."""


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Addresses the guard connects to; behind each of them is one local server."""
    calls: list[tuple[str, int]] = []
    connect, connect_async = socket.create_connection, anyio.connect_tcp
    with serving(hello) as server:

        def dial(address: tuple[str, int], timeout: float) -> socket.socket:
            calls.append(address)
            return connect(("127.0.0.1", server.port), timeout)

        async def dial_async(remote_host: str, remote_port: int, **_kwargs: Any) -> Any:
            calls.append((remote_host, remote_port))
            return await connect_async("127.0.0.1", server.port)

        monkeypatch.setattr(socket, "create_connection", dial)
        monkeypatch.setattr(anyio, "connect_tcp", dial_async)
        yield calls


def resolver(*answers: list[str]) -> Callable[[str], list[str]]:
    """A name server that gives another answer each time it is asked."""
    left = iter(answers)
    return lambda _host: next(left)


def fetch(server: Server, path: str = "/", *, timeout_sec: float = 5.0, max_bytes: int = 1000) -> tuple[bytes, bool]:
    with (
        guarded_client(timeout_sec=timeout_sec, private_hosts=LOCAL) as client,
        open_url(client, f"http://127.0.0.1:{server.port}{path}", permit=anything) as response,
    ):
        return read_capped(response, max_bytes=max_bytes)


def test_a_listed_local_host_answers_and_sees_its_own_name() -> None:
    with serving(hello) as server, guarded_client(timeout_sec=5, private_hosts=LOCAL) as client:
        response = client.get(f"http://LOCALHOST:{server.port}/path?q=1")

    assert response.text == "hello"
    assert server.seen[0].path == "/path?q=1"
    assert server.seen[0].headers["host"] == f"localhost:{server.port}"


def test_an_unlisted_local_host_is_never_connected_to() -> None:
    with serving(hello) as server, guarded_client(timeout_sec=5) as client:
        for host in ("localhost", "127.0.0.1", "[::1]"):
            with pytest.raises(BlockedUrl):
                client.get(f"http://{host}:{server.port}/")

    assert server.seen == []


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_dialled(dialled: list[tuple[str, int]]) -> None:
    with guarded_client(timeout_sec=5, resolve=resolver([PUBLIC])) as client:
        assert client.get("http://rebind.test:81/").text == "hello"

    assert dialled == [(PUBLIC, 81)]


def test_a_name_that_turns_private_is_refused_the_next_time(dialled: list[tuple[str, int]]) -> None:
    with guarded_client(timeout_sec=5, resolve=resolver([PUBLIC], ["127.0.0.1"])) as client:
        client.get("http://rebind.test/")

        with pytest.raises(BlockedUrl):
            client.get("http://rebind.test/")

    assert dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("bad", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1%eth0"])
def test_one_bad_address_among_good_ones_refuses_the_name(bad: str, dialled: list[tuple[str, int]]) -> None:
    with guarded_client(timeout_sec=5, resolve=resolver([PUBLIC, bad])) as client, pytest.raises(BlockedUrl):
        client.get("http://mixed.test/")

    assert dialled == []


def test_a_sub_domain_of_a_listed_host_is_not_listed(dialled: list[tuple[str, int]]) -> None:
    private_hosts = listed_hosts(["inner.test"])
    with guarded_client(timeout_sec=5, private_hosts=private_hosts, resolve=lambda _: ["10.0.0.1"]) as client:
        client.get("http://inner.test/")

        with pytest.raises(BlockedUrl):
            client.get("http://a.inner.test/")


def test_the_next_address_is_tried_when_one_refuses() -> None:
    with serving(hello) as server:
        addresses = ["127.0.0.2", "127.0.0.1"]
        with guarded_client(timeout_sec=5, private_hosts=LOCAL, resolve=lambda _: addresses) as client:
            assert client.get(f"http://localhost:{server.port}/").text == "hello"


def test_an_unknown_name_is_a_connection_error() -> None:
    def unknown(_host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with guarded_client(timeout_sec=5, resolve=unknown) as client, pytest.raises(httpx.ConnectError) as caught:
        client.get("http://nowhere.test/")

    assert what_failed(caught.value, timeout_sec=5) == "cannot connect: the host name cannot be resolved"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")

    with serving(hello) as server:
        assert fetch(server)[0] == b"hello"


# TLS


def test_tls_verifies_the_name_that_was_asked_not_the_address(trusted_ca: None) -> None:
    hosts = listed_hosts(["fetch.test", "other.test"])
    with (
        serving(hello, tls=True) as server,
        guarded_client(timeout_sec=5, private_hosts=hosts, resolve=lambda _: ["127.0.0.1"]) as client,
    ):
        assert client.get(f"https://fetch.test:{server.port}/").text == "hello"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get(f"https://other.test:{server.port}/")

    assert server.server_names == ["fetch.test", "other.test"]
    assert len(server.seen) == 1


def test_tls_refuses_an_unknown_authority() -> None:
    with (
        serving(hello, tls=True) as server,
        guarded_client(timeout_sec=5, private_hosts=LOCAL) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(f"https://localhost:{server.port}/")


# Time


def silent(exchange: Exchange) -> None:
    exchange.owner.stopping.wait()


def drip_headers(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    while not exchange.owner.stopping.wait(0.02):
        exchange.wfile.write(b"y")


def drip_body(exchange: Exchange) -> None:
    exchange.answer(200, size=100_000)
    while not exchange.owner.stopping.wait(0.02):
        exchange.wfile.write(b"y")


@pytest.mark.parametrize("respond", [silent, drip_headers, drip_body])
def test_a_server_that_never_ends_meets_the_time_limit(respond: Callable[[Exchange], None]) -> None:
    with serving(respond) as server, pytest.raises(httpx.TimeoutException):
        fetch(server, timeout_sec=0.3, max_bytes=100_000)


def test_a_server_that_never_reads_meets_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with guarded_client(timeout_sec=0.3, private_hosts=LOCAL) as client, pytest.raises(httpx.WriteTimeout):
            client.post(f"http://127.0.0.1:{port}/", content=b"x" * 50_000_000)


def test_a_handshake_that_never_ends_meets_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with guarded_client(timeout_sec=0.3, private_hosts=LOCAL) as client, pytest.raises(httpx.ConnectTimeout):
            client.get(f"https://127.0.0.1:{port}/")


def test_a_name_server_that_never_answers_meets_the_time_limit() -> None:
    over = threading.Event()

    def hang(_host: str) -> list[str]:
        over.wait()
        return []

    with guarded_client(timeout_sec=0.3, resolve=hang) as client, pytest.raises(httpx.ConnectTimeout):
        client.get("http://slow.test/")
    over.set()


# Redirects and bodies


def test_a_redirect_is_not_followed_by_itself() -> None:
    with (
        serving(lambda exchange: exchange.answer(302, location="/next")) as server,
        guarded_client(timeout_sec=5, private_hosts=LOCAL) as client,
    ):
        assert client.get(f"http://127.0.0.1:{server.port}/").status_code == 302

    assert [seen.path for seen in server.seen] == ["/"]


def hop(exchange: Exchange) -> None:
    """/3 → /2 → /1 → /0, which answers."""
    left = int(exchange.path.strip("/"))
    exchange.answer(200, b"there") if left == 0 else exchange.answer(307, location=f"/{left - 1}")


def test_permitted_redirects_are_followed_up_to_five() -> None:
    with serving(hop) as server:
        assert fetch(server, "/5") == (b"there", False)

        with pytest.raises(httpx.TooManyRedirects):
            fetch(server, "/6")


def test_every_hop_is_asked_for_permission() -> None:
    asked: list[str] = []

    def permit(target: ParsedUrl) -> None:
        asked.append(target.url.path)
        if target.url.path == "/1":
            raise BlockedUrl("not there")

    with (
        serving(hop) as server,
        guarded_client(timeout_sec=5, private_hosts=LOCAL) as client,
        pytest.raises(BlockedUrl),
        open_url(client, f"http://127.0.0.1:{server.port}/3", permit=permit),
    ):
        pass

    assert asked == ["/3", "/2", "/1"]
    assert [seen.path for seen in server.seen] == ["/3", "/2"]


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/", "http://[::1]/", "file:///etc/passwd", "http://a@b/", "http://[x"]
)
def test_a_redirect_to_a_bad_place_is_blocked_whatever_the_permit(location: str) -> None:
    with serving(lambda exchange: exchange.answer(302, location=location)) as server, pytest.raises(BlockedUrl):
        fetch(server)


def test_an_endless_body_is_cut_at_the_cap() -> None:
    def endless(exchange: Exchange) -> None:
        exchange.answer(200, size=10**12)
        for _ in repeat(None):
            exchange.wfile.write(b"x" * 10_000)

    with serving(endless) as server:
        assert fetch(server, max_bytes=2000) == (b"x" * 2000, True)


def test_a_body_of_exactly_the_cap_is_whole() -> None:
    with serving(lambda exchange: exchange.answer(200, b"12345")) as server:
        assert fetch(server, max_bytes=5) == (b"12345", False)


def test_a_zip_bomb_is_cut_at_the_cap_and_never_unpacked() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)

    with serving(lambda exchange: exchange.answer(200, bomb, content_encoding="gzip")) as server:
        tracemalloc.start()
        cut = fetch(server, max_bytes=1000)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert cut == (b"0" * 1000, True)
    assert peak_bytes < 5_000_000


def test_a_zipped_body_is_unzipped() -> None:
    with serving(lambda exchange: exchange.answer(200, gzip.compress(b"text"), content_encoding="GZIP")) as server:
        assert fetch(server) == (b"text", False)

    assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip"])
def test_a_body_in_an_unknown_or_false_encoding_is_an_error(encoding: str) -> None:
    with (
        serving(lambda exchange: exchange.answer(200, b"not that", content_encoding=encoding)) as server,
        pytest.raises(httpx.DecodingError),
    ):
        fetch(server)


def test_an_answer_that_is_not_http_is_told_without_its_bytes() -> None:
    with (
        serving(lambda exchange: exchange.wfile.write(b"token=hunter2\r\n\r\n")) as server,
        pytest.raises(httpx.RemoteProtocolError) as caught,
    ):
        fetch(server)

    assert what_failed(caught.value, timeout_sec=5) == "the answer is not valid HTTP"
