"""HTTP through the bridge, over real sockets: slow, chunked, oversized and vanishing clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import uvicorn
from django.core.wsgi import get_wsgi_application
from django.test.utils import override_settings
from django.urls import clear_url_caches, set_urlconf

from rauskuclaw.api import bridge
from rauskuclaw.api.bridge import WSGIBridge
from tests.api_conventions.urls import Later, may_go_on
from tests.running import wait_until

THREADS = 2
LIMIT_BYTES = 1_048_576


class Server(uvicorn.Server):
    def __init__(self) -> None:
        self.bridge = WSGIBridge(get_wsgi_application(), threads=THREADS, limit_bytes=LIMIT_BYTES)
        super().__init__(uvicorn.Config(self.bridge, log_level="critical", lifespan="off", proxy_headers=False))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, kwargs={"sockets": [self.listener]})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with override_settings(ROOT_URLCONF="tests.api_conventions.urls", ALLOWED_HOSTS=["*"]):
        clear_url_caches()
        running = Server()
        running.thread.start()
        yield running
        running.should_exit = True
        running.thread.join(10)
        assert not running.thread.is_alive(), "the server did not stop"
    set_urlconf(None)
    clear_url_caches()


def ask(server: Server, method: str, path: str, **options: Any) -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{server.port}{path}", trust_env=False, **options)


def raw(server: Server, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(request)
    return connection


def spoken(server: Server, request: bytes) -> bytes:
    """The whole answer to a request that asks to close."""
    with raw(server, request) as connection, connection.makefile("rb") as answer:
        return answer.read()


POST = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_body_arrives_whole(server: Server) -> None:
    text = "ä" * 400_000

    assert ask(server, "POST", "/v1/echo", json={"text": text}).json()["body"] == {"text": text}


def test_a_chunked_body_is_not_taken_for_an_empty_one(server: Server) -> None:
    pieces = iter([b'{"a"', b": 1}"])

    answer = ask(server, "POST", "/v1/echo", content=pieces, headers={"Content-Type": "application/json"})

    assert answer.json()["body"] == {"a": 1}


def test_a_body_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    with raw(server, POST + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n") as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_an_endless_chunked_body_is_refused_at_the_limit(server: Server) -> None:
    with raw(server, POST + b"Transfer-Encoding: chunked\r\n\r\n") as connection:
        piece = b"%x\r\n" % 65_536 + b" " * 65_536 + b"\r\n"
        connection.sendall(piece * (LIMIT_BYTES // 65_536 + 1))

        assert connection.recv(12) == b"HTTP/1.1 413"


def test_clients_that_stall_in_their_body_hold_no_thread(server: Server) -> None:
    stalled = [raw(server, POST + b"Content-Length: 100\r\n\r\n{") for _ in range(THREADS * 3)]

    assert ask(server, "GET", "/health").status_code == 200
    for connection in stalled:
        connection.close()
    assert ask(server, "GET", "/health").status_code == 200


def test_clients_that_leave_during_the_answer_break_no_thread(server: Server) -> None:
    for _ in range(THREADS * 3):
        raw(server, b"GET /v1/download HTTP/1.1\r\nHost: x\r\n\r\n").close()

    assert len(ask(server, "GET", "/v1/download").content) == 1_000_000


def test_an_answer_in_pieces_is_sent_as_it_is_made(server: Server) -> None:
    may_go_on.clear()
    with httpx.stream("GET", f"http://127.0.0.1:{server.port}/v1/in-pieces", trust_env=False) as answer:
        pieces = answer.iter_bytes()
        assert next(pieces) == b"first "
        may_go_on.set()
        assert b"".join(pieces) == b"second"


@pytest.fixture
def later() -> Iterator[type[Later]]:
    Later.let_go.clear()
    Later.looked_at.clear()
    yield Later
    Later.let_go.set()


def test_answers_that_are_awaited_hold_no_thread(server: Server, later: type[Later]) -> None:
    waiting = 10 * THREADS
    with ThreadPoolExecutor(waiting) as clients:
        asked = [clients.submit(ask, server, "GET", "/v1/later", timeout=60) for _ in range(waiting)]
        wait_until(lambda: len(later.looked_at) == waiting, what="all to wait")

        pong = ask(server, "GET", "/v1/echo")
        answered = [future for future in asked if future.done()]
        later.let_go.set()

    assert (pong.status_code, answered) == (200, [])
    assert {future.result().text for future in asked} == {"at last"}


def test_when_too_many_are_awaited_the_others_hurry(
    server: Server, later: type[Later], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "AWAITED_MOST", 0)

    assert ask(server, "GET", "/v1/later").text == "in a hurry"


def test_nobody_looks_any_more_once_the_client_has_left(server: Server, later: type[Later]) -> None:
    with raw(server, b"GET /v1/later HTTP/1.1\r\nHost: x\r\n\r\n"):
        wait_until(lambda: later.looked_at, what="it to wait")
        assert server.bridge._awaited == 1

    wait_until(lambda: server.bridge._awaited == 0, what="the end of it")
    assert not later.let_go.is_set()


def test_head_has_the_length_and_no_body(server: Server) -> None:
    answer = ask(server, "HEAD", "/v1/echo")

    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/v1/jobs/%00", "/v1/jobs/%ff%fe", "/v1/jobs/a%0d%0aSet-Cookie:x", "/%2e%2e/etc"])
def test_hostile_paths_are_answered_calmly(server: Server, path: str) -> None:
    assert ask(server, "GET", path).status_code in {200, 404}


def test_a_header_with_an_underscore_cannot_pose_as_the_proxys(server: Server) -> None:
    forged = b"GET /health HTTP/1.1\r\nHost: x\r\nX_Request_ID: forged\r\nConnection: close\r\n\r\n"

    assert b"forged" not in spoken(server, forged)
