"""Real HTTP servers for tests, on loopback, plain or TLS.

ca.pem signed server.pem (localhost, 127.0.0.1, fetch.test, *.fetch.test; valid until 2126). Nothing but these tests
trusts that authority, and its key was thrown away. Made once with the openssl program, which a test machine may lack.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CA_FILE = Path(__file__).parent / "ca.pem"
SERVER_FILE = Path(__file__).parent / "server.pem"


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A running server: what it was asked, and `stopping`, which is set when the test is over."""

    port: int
    seen: list[Seen] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)


class Exchange(BaseHTTPRequestHandler):
    """One request, which a test's `respond` answers."""

    respond: Callable[[Exchange], object]
    owner: Server
    body: bytes

    def answer(self, status: int = 200, body: bytes = b"", *, size: int | None = None, **headers: str) -> None:
        """Send a whole answer, or the start of one of `size` bytes; underscores in header names stand for dashes."""
        self.send_response(status)
        self.send_header("content-length", str(len(body) if size is None else size))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.seen.append(Seen(self.command, self.path, headers, self.body))
        # A client that hangs up is what many of these tests are about.
        try:
            type(self).respond(self)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = handle_any  # noqa: N815 - http.server's names

    def log_message(self, *_args: object) -> None:
        """Quiet."""


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_args: object) -> None:
        """Quiet: a handshake that the client breaks off is expected."""


@contextmanager
def serving(respond: Callable[[Exchange], object], *, tls: bool = False) -> Iterator[Server]:
    """A server that answers each request with `respond`."""
    server = Server(port=0)
    exchange = type("TestExchange", (Exchange,), {"respond": respond, "owner": server})
    with _HTTPServer(("127.0.0.1", 0), exchange) as listener:
        server.port = listener.server_address[1]
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(SERVER_FILE)
            context.sni_callback = lambda _socket, name, _context: server.server_names.append(name)
            # The handshake belongs into the connection's thread, not into accept().
            listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            listener.shutdown()
            thread.join()
