"""A stand-in for model servers, on loopback: OpenAI, Anthropic and Ollama on one port, in their real protocols.

A test queues what the model answers (`script.py`), points the code under test at `base_url`, and reads afterwards what
was asked. Chats and embeddings have a queue each; with an empty queue a chat is answered by `by_default`, which echoes,
and an embedding by a vector that is near to those of similar texts.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.modelserver import anthropic, ollama, openai
from tests.modelserver.script import Answer, Cut, Garbage, Pause, Piece, Refusal, Reply, Wait
from tests.modelserver.wire import Protocol

KEY = "sk-of-the-stand-in-0123456789"
"""What clients must send; Ollama's protocol has no key."""
LOOK_SEC = 0.01

PATHS: dict[tuple[str, str], tuple[Protocol, str]] = {
    ("POST", "/v1/chat/completions"): (openai.PROTOCOL, "chat"),
    ("POST", "/v1/embeddings"): (openai.PROTOCOL, "embed"),
    ("GET", "/v1/models"): (openai.PROTOCOL, "models"),
    ("POST", "/v1/messages"): (anthropic.PROTOCOL, "chat"),
    ("POST", "/api/chat"): (ollama.PROTOCOL, "chat"),
    ("POST", "/api/embed"): (ollama.PROTOCOL, "embed"),
    ("GET", "/api/tags"): (ollama.PROTOCOL, "models"),
}


@dataclass
class Call:
    """One request as it came, and what became of it."""

    path: str
    headers: dict[str, str]
    body: Any
    """Parsed JSON; None without a body."""
    hung_up: threading.Event = field(default_factory=threading.Event)
    """The client closed its socket before the answer was complete."""
    done: threading.Event = field(default_factory=threading.Event)
    """The server has nothing more to send."""
    hung_up_at: float = 0.0
    """`time.monotonic()` of that."""


@dataclass
class ModelServer:
    """The running server."""

    base_url: str
    """Without a path: `http://127.0.0.1:port`."""
    key: str = KEY
    models: tuple[str, ...] = ("stand-in", "stand-in-embed")
    dimensions: int = 768
    calls: list[Call] = field(default_factory=list)
    by_default: Callable[[Call], Answer] = field(default=lambda call: Reply(f"You said: {last_words(call)}"))
    stopping: threading.Event = field(default_factory=threading.Event)
    _answers: dict[str, deque[Answer]] = field(default_factory=lambda: {"chat": deque(), "embed": deque()})
    _news: threading.Condition = field(default_factory=threading.Condition)

    def answer(self, *answers: Answer | str) -> None:
        """Queue what the next chats are answered; a string is a reply of that text."""
        self._answers["chat"] += [Reply(it) if isinstance(it, str) else it for it in answers]

    def answer_embeddings(self, *refusals: Refusal) -> None:
        """Queue what the next requests for embeddings meet; after them it works again."""
        self._answers["embed"] += refusals

    def wait_for_call(self, number: int, *, timeout_sec: float = 30) -> Call:
        """The call of this number, from 1, as soon as it has come."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.calls) >= number, timeout_sec), f"no call {number} came"
            return self.calls[number - 1]

    def note(self, call: Call) -> None:
        """A request has come."""
        with self._news:
            self.calls.append(call)
            self._news.notify_all()

    def next_answer(self, kind: str, call: Call) -> Answer:
        """What the test wants answered now."""
        with self._news:
            queue = self._answers.get(kind)
            if queue:
                return queue.popleft()
        return self.by_default(call) if kind == "chat" else Reply()


def last_words(call: Call) -> str:
    """The text of the last message of a chat."""
    content = call.body["messages"][-1].get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ModelServer
    call: Call

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        self.call = Call(path, headers, json.loads(raw) if raw else None)
        self.server_of.note(self.call)
        try:
            self._answer(path)
        except OSError:
            self._hung_up()
        finally:
            self.call.done.set()

    do_GET = do_POST = _handle  # noqa: N815 - http.server's names

    def _answer(self, path: str) -> None:
        protocol, kind = PATHS.get((self.command, path), (openai.PROTOCOL, ""))
        if kind == "models" and "anthropic-version" in self.call.headers:
            protocol = anthropic.PROTOCOL
        if not kind:
            self._refuse(protocol, Refusal(404, f"no such path: {path}"))
        elif protocol.wants_key and protocol.key_of(self.call.headers) != self.server_of.key:
            # As providers do: the message shows a part of what was sent.
            self._refuse(protocol, Refusal(401, f"Incorrect API key provided: {protocol.key_of(self.call.headers)}"))
        elif kind == "models":
            self._send_json(200, protocol.models(self.server_of.models))
        else:
            answer = self.server_of.next_answer(kind, self.call)
            if isinstance(answer, Refusal):
                self._refuse(protocol, answer)
            elif kind == "embed":
                self._send_json(200, protocol.embeddings(self.call.body, self.server_of.dimensions))
            else:
                self._chat(protocol, answer)

    def _chat(self, protocol: Protocol, reply: Reply) -> None:
        model = reply.model or self.call.body["model"]
        if reply.first is not None and not self._pass(reply.first):
            return
        if not protocol.streams(self.call.body):
            if all(self._pass(piece) for piece in reply.pieces):
                self._send_json(200, protocol.whole(reply, model))
            return
        self.send_response(200)
        self.send_header("content-type", protocol.stream_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for item in protocol.stream(reply, model, self.call.body):
            if isinstance(item, bytes):
                self._send_chunk(item)
            elif isinstance(item, Garbage):
                self._send_chunk(item.data)
            elif not self._pass(item):
                return
        self._send_chunk(b"")

    def _pass(self, piece: Piece) -> bool:
        """Wait where the script says so. False: the exchange is over."""
        if isinstance(piece, Cut):
            self._drop()
            return False
        if isinstance(piece, Pause):
            piece.reached.set()
            return self._stand(piece.released.is_set)
        if isinstance(piece, Wait):
            until = time.monotonic() + piece.sec
            return self._stand(lambda: time.monotonic() >= until)
        return True

    def _stand(self, is_over: Callable[[], bool]) -> bool:
        while not is_over():
            if self.server_of.stopping.is_set():
                self._drop()
                return False
            readable, _, _ = select.select([self.connection], [], [], LOOK_SEC)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("the client hung up")
        return True

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _refuse(self, protocol: Protocol, refusal: Refusal) -> None:
        told = {"retry-after": refusal.retry_after, "location": refusal.location}
        headers = {name: value for name, value in told.items() if value is not None}
        if refusal.body is not None:
            self._send(refusal.status, refusal.body, "text/html", headers)
        else:
            self._send_json(refusal.status, protocol.error(refusal.status, refusal.message), headers)

    def _send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", headers or {})

    def _send(self, status: int, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-type": content_type, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _hung_up(self) -> None:
        self.close_connection = True
        self.call.hung_up_at = time.monotonic()
        self.call.hung_up.set()

    def log_message(self, *_args: object) -> None:
        """Quiet."""


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def handle_error(self, *_args: object) -> None:
        """Quiet: clients that hang up are expected."""


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server for the length of the block."""
    server = ModelServer("")
    exchange = type("ModelExchange", (_Exchange,), {"server_of": server})
    with _HTTPServer(("127.0.0.1", 0), exchange) as listener:
        server.base_url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            listener.shutdown()
            thread.join()
