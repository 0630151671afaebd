"""HTTP from uvicorn to Django's WSGI handler: several times the requests a second of Django's ASGI handler.

Bodies are read here, on the event loop, where waiting for a slow client costs nothing: a thread sees a request only
when it is whole. That also gives chunked bodies the Content-Length without which WSGI would take them for empty.
An answer that is whole goes back in one piece too: each step between the loop and a thread costs both of them a wait
for the interpreter, and there were five a request. One that is awaited (`awaited.py`) gives its thread back meanwhile.
What is too large to be held goes through `StreamingBridge`, which has threads of its own to wait with.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from contextvars import copy_context
from functools import lru_cache, partial
from io import BytesIO
from typing import Any, TypeVar

from a2wsgi import WSGIMiddleware

from rauskuclaw.api.awaited import Awaited, AwaitedResponse

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

AWAITED_MOST = 100
"""Answers that are awaited at once, each of which looks at the database twice a second; the others hurry."""


class WSGIBridge:
    """An ASGI application around Django's WSGI handler.

    threads: requests handled at once. limit_bytes: a longer body is cut one byte after it, or not read at all when it
    says its length, and the application sees that it is too large.
    """

    def __init__(self, app: Callable[..., Any], *, threads: int, limit_bytes: int) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="WSGI")
        self._limit_bytes = limit_bytes
        self._awaited = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one HTTP request. A client that leaves before its request is whole costs no thread."""
        declared = declared_length(scope)
        body = b""
        if declared is None or declared <= self._limit_bytes:
            whole = await self._read(receive)
            if whole is None:
                return
            body, declared = whole, len(whole)
        answer = _Answer(asyncio.get_running_loop(), send)
        await self._in_thread(partial(answer.make, self._app, _environ(scope, body, declared)))
        if answer.awaited is not None:
            last = await self._wait_for(answer.awaited, receive)
            if last is None:
                return
            answer.held.append({"type": "http.response.body", "body": last})
        for message in answer.held:
            await send(message)

    async def _in_thread(self, step: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        # `run_in_executor` has two futures tell each other, by callbacks of both: a tenth of what the loop does.
        done: asyncio.Future[T] = loop.create_future()
        self._threads.submit(copy_context().run, _do, step, loop, done)
        return await done

    async def _wait_for(self, awaited: Awaited, receive: Receive) -> bytes | None:
        """The body; None when the client left."""
        leaving = asyncio.ensure_future(receive())
        self._awaited += 1
        try:
            look = partial(awaited.look, hurry=self._awaited > AWAITED_MOST)
            while (body := await self._in_thread(look)) is None:
                await asyncio.wait({leaving}, timeout=awaited.pause_sec())
                if leaving.done():
                    return None
            return body
        finally:
            self._awaited -= 1
            leaving.cancel()

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, at most one byte more than the limit; None when the client left."""
        body = bytearray()
        while len(body) <= self._limit_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return bytes(body[: self._limit_bytes + 1])


def _do(step: Callable[[], T], loop: asyncio.AbstractEventLoop, done: asyncio.Future[T]) -> None:
    """In a thread: take a step, and tell the loop."""
    try:
        tell = partial(done.set_result, step())
    except BaseException as error:
        tell = partial(done.set_exception, error)
    with suppress(RuntimeError):  # the loop has ended: the server was told to stop and not to wait
        loop.call_soon_threadsafe(lambda: done.done() or tell())


class _Answer:
    """One answer on its way from a thread to its client.

    held: what there is of it to send when the thread is done. awaited: where the body comes from then, if later.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop = loop
        self._send = send
        self.held: list[Message] = []
        self.awaited: Awaited | None = None

    def make(self, app: Callable[..., Any], environ: dict[str, Any]) -> None:
        """In a thread: have the application answer. One that comes in pieces is sent as it comes."""
        with closing(app(environ, self._start)) as response:
            if isinstance(response, AwaitedResponse):
                self.awaited = response.awaited
                return
            if not response.streaming:
                last = response.content
            else:
                last = b""
                for piece in response:
                    self._pass_on(piece)
        self.held.append({"type": "http.response.body", "body": last})

    def _start(self, status: str, headers: Iterable[tuple[str, str]], _error: object = None) -> None:
        lines = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers]
        self.held.append({"type": "http.response.start", "status": int(status[:3]), "headers": lines})

    def _pass_on(self, piece: bytes) -> None:
        """Send what is held and a piece, and wait until the connection has taken them."""
        ready = [*self.held, {"type": "http.response.body", "body": piece, "more_body": True}]
        self.held.clear()
        asyncio.run_coroutine_threadsafe(self._send_all(ready), self._loop).result()

    async def _send_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            await self._send(message)


class StreamingBridge:
    """The same for large bodies, of requests that declare their length and of answers: they pass as they come.

    threads: such transfers at once; the others wait, and hold up nobody else. stall_sec: a client that neither sends
    nor takes anything for so long is gone.
    """

    def __init__(self, app: Callable[..., Any], *, threads: int, stall_sec: float) -> None:
        self._app: Any = WSGIMiddleware(app, workers=threads)
        self._stall_sec = stall_sec

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        gone = False

        async def patient_receive() -> Message:
            try:
                async with asyncio.timeout(self._stall_sec):
                    return await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}

        async def patient_send(message: Message) -> None:
            nonlocal gone
            # Once gone, what is left is dropped, as uvicorn does when a client leaves: the thread must get to its end.
            if not gone:
                try:
                    async with asyncio.timeout(self._stall_sec):
                        await send(message)
                except TimeoutError:
                    gone = True

        headers = [*_headers(scope), (b"content-length", str(declared_length(scope) or 0).encode())]
        await self._app({**scope, "headers": headers}, patient_receive, patient_send)


def _environ(scope: Message, body: bytes, length: int | None) -> dict[str, Any]:
    """What WSGI makes of a request (PEP 3333): all of it that Django reads."""
    path, root = scope["path"].encode().decode("latin-1"), scope.get("root_path", "").encode().decode("latin-1")
    server, client = scope.get("server") or ("localhost", 80), scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"], "SCRIPT_NAME": root, "PATH_INFO": path.removeprefix(root),
        "QUERY_STRING": scope["query_string"].decode("latin-1"), "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0], "SERVER_PORT": str(server[1] or 0), "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]), "wsgi.version": (1, 0), "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(body), "wsgi.errors": sys.stderr, "wsgi.multithread": True,
        "wsgi.multiprocess": True, "wsgi.run_once": False,
    }  # fmt: skip
    if length:
        environ["CONTENT_LENGTH"] = str(length)
    for name, value in scope["headers"]:
        if (key := _wsgi_name(name)) is not None:
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


@lru_cache(maxsize=512)
def _wsgi_name(name: bytes) -> str | None:
    """What WSGI calls a header; None for those that do not pass."""
    if not _passes(name):
        return None
    return "CONTENT_TYPE" if name == b"content-type" else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def declared_length(scope: Message) -> int | None:
    """The Content-Length of a request."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), None)


def _headers(scope: Message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in scope["headers"] if _passes(name)]


def _passes(name: bytes) -> bool:
    """WSGI cannot tell `x_forwarded_for` from `x-forwarded-for`, so only the proxy's own spelling passes. Lengths are
    told as they were found to be."""
    return b"_" not in name and name not in {b"content-length", b"transfer-encoding"}
