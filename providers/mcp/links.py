"""What carries the messages: over HTTP through the SSRF guard, or over the pipes of a command.

A link remembers the first thing that went wrong, because the library's transports tell of a broken connection only that
it is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import psutil
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from jobs import processes
from jobs.handlers.base import AttemptFailed
from rauskuclaw import errors
from rauskuclaw.netguard import BlockedUrl, what_failed
from rauskuclaw.netguard_async import guarded_client

MAX_ANSWER_BYTES = 4_194_304
"""All that a server may send in one errand."""
END_SEC = 0.5
"""What a server gets to end by itself."""
STDERR_TAIL_BYTES = 2_000

Streams = tuple[Any, Any]
"""The read and the write stream that mcp's transports yield."""


class Link(ABC):
    """One connection to one server."""

    def __init__(self) -> None:
        self.fault: AttemptFailed | None = None
        self._left_bytes = MAX_ANSWER_BYTES

    @abstractmethod
    def transport(self) -> AbstractAsyncContextManager[Streams]:
        """As mcp's client takes it."""

    def note(self, code: errors.Code, message: str, **details: Any) -> AttemptFailed:
        """Remember a fault, unless there was one before."""
        self.fault = self.fault or AttemptFailed(code, message, details or None)
        return self.fault

    def take(self, size_bytes: int) -> bool:
        """Count what came; whether it may go on."""
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            self.note(errors.MCP_TOO_LARGE, f"the server sent more than {MAX_ANSWER_BYTES:,} bytes")
        return self._left_bytes >= 0


@dataclass
class HttpLink(Link):
    """Streamable HTTP. private_hosts: as `netguard.guarded_client` has them. timeout_sec: for all requests together."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    private_hosts: frozenset[str]
    timeout_sec: float

    def __post_init__(self) -> None:
        super().__init__()

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Streams]:
        async with (
            httpx2.AsyncClient(transport=_Guarded(self), headers=dict(self.headers), trust_env=False) as client,
            streamable_http_client(self.url, http_client=client, max_sse_event_size=MAX_ANSWER_BYTES) as streams,
        ):
            yield streams


_OWN_HEADERS = frozenset({"accept-encoding", "connection", "host", "user-agent"})


class _Guarded(httpx2.AsyncBaseTransport):
    """The library's HTTP client on the one guard, whose client is of the older httpx."""

    def __init__(self, link: HttpLink) -> None:
        self._link = link
        self._client = guarded_client(timeout_sec=link.timeout_sec, private_hosts=link.private_hosts)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Only a DELETE says goodbye, when nobody waits for an answer any more.
        async with asyncio.timeout(END_SEC if request.method == "DELETE" else None):
            return await self._sent(request)

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _OWN_HEADERS]
        wanted = self._client.build_request(
            request.method, str(request.url), headers=headers, content=await request.aread()
        )
        try:
            response = await self._client.send(wanted, stream=True)
        except (BlockedUrl, httpx.HTTPError) as error:
            raise _as_httpx2(self._link, error, request) from None
        if request.method == "POST":
            self._note(response)
        # Undecoded, so no small body can unfold into a large one.
        told = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
        return httpx2.Response(response.status_code, headers=told, stream=_Body(self._link, response, request))

    def _note(self, response: httpx.Response) -> None:
        """What the library only tells of as an error. Other statuses may be how an older server says that it does not
        know a method."""
        status, kind = response.status_code, response.headers.get("content-type", "").lower()
        if status in {401, 403, 407, 429} or response.is_server_error:
            self._link.note(errors.MCP_HTTP, f"the server answered with status {status}", status=status)
        elif response.has_redirect_location and not self._stays(response):
            self._link.note(errors.MCP_HTTP, f"the server redirects elsewhere (status {status})", status=status)
        elif status == httpx.codes.OK and not kind.startswith(("application/json", "text/event-stream")):
            self._link.note(errors.MCP_PROTOCOL, "the answer is neither JSON nor an event stream")

    def _stays(self, response: httpx.Response) -> bool:
        """Whether it leads to where it came from, as the library allows."""
        url = response.request.url
        try:
            there = url.join(response.headers["location"])
        except httpx.InvalidURL:
            return False
        return (there.scheme, there.host, there.port) == (url.scheme, url.host, url.port)

    async def aclose(self) -> None:
        await self._client.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, link: HttpLink, response: httpx.Response, request: httpx2.Request) -> None:
        self._link, self._response, self._request = link, response, request

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._response.aiter_raw():
                if not self._link.take(len(chunk)):
                    raise httpx2.ReadError("too large", request=self._request)
                yield chunk
        except httpx.HTTPError as error:
            raise _as_httpx2(self._link, error, self._request) from None

    async def aclose(self) -> None:
        await self._response.aclose()


def _as_httpx2(link: HttpLink, error: BlockedUrl | httpx.HTTPError, request: httpx2.Request) -> httpx2.TransportError:
    told = httpx2.NetworkError(str(error), request=request)
    if request.method != "POST":
        return told  # a stream for what nobody asked for: servers may do without
    if isinstance(error, BlockedUrl):
        link.note(errors.POLICY_DENIED, f"the guard refused: {error.reason} (MCP_PRIVATE_HOSTS lists exceptions)")
    elif isinstance(error, httpx.TimeoutException):
        link.note(errors.MCP_TIMEOUT, f"no answer within {link.timeout_sec:g} s")
    else:
        link.note(errors.MCP_NETWORK, what_failed(error, timeout_sec=link.timeout_sec))
    return told


@dataclass
class StdioLink(Link):
    """A command that reads and writes a message a line. env: on top of PATH, LANG, HOME and TMPDIR (both `home`)."""

    argv: list[str]
    env: Mapping[str, str] = field(repr=False)
    home: Path
    mark: str
    """Of all that it starts, so that it is found when its worker died, too."""

    def __post_init__(self) -> None:
        super().__init__()
        self._stderr_tail = b""

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Streams]:
        """Nothing of the command is left afterwards; it is killed at once where an exception or a cancel ends it."""
        process = await self._started()
        # Told from whatever has its pid later.
        known = psutil.Process(process.pid)
        to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        pumps = [
            asyncio.create_task(pump)
            for pump in (
                self._read(process, to_session), self._write(process, from_session), self._read_stderr(process),
            )
        ]  # fmt: skip
        try:
            yield from_server, to_server
            to_server.close()
            from_server.close()
            _close_stdin(process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_SEC)
        finally:
            # In a thread that runs to its end whatever becomes of this task.
            killing = asyncio.get_running_loop().run_in_executor(None, processes.kill_tree, known, self.mark)
            for pump in pumps:
                pump.cancel()
            for stream in (to_session, from_server, to_server, from_session):
                stream.close()
            await asyncio.shield(killing)
            await asyncio.gather(*pumps, process.wait(), return_exceptions=True)

    async def _started(self) -> asyncio.subprocess.Process:
        fixed = {"PATH": processes.COMMAND_PATH, "LANG": "C.UTF-8", "HOME": str(self.home), "TMPDIR": str(self.home)}
        prefix = processes.launcher()
        pipe = asyncio.subprocess.PIPE
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if prefix:
                processes.require_executable(self.argv[0], fixed["PATH"], self.home)
            return await asyncio.create_subprocess_exec(
                *prefix, *self.argv, stdin=pipe, stdout=pipe, stderr=pipe, limit=MAX_ANSWER_BYTES, cwd=self.home,
                env={**fixed, **self.env, processes.ATTEMPT_VARIABLE: self.mark}, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise self.note(errors.MCP_CONFIG, f"the command cannot be started: {error.strerror}") from None

    async def _read(self, process: asyncio.subprocess.Process, to_session: Any) -> None:
        assert process.stdout is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with to_session:
                while line := await self._line(process.stdout):
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        if line.lstrip().startswith(b"{"):
                            self.note(errors.MCP_PROTOCOL, "the server wrote a message that is no JSON-RPC")
                            return
                        continue  # what some servers print before they begin
                    await to_session.send(SessionMessage(message))
                await self._note_end(process)

    async def _line(self, stdout: asyncio.StreamReader) -> bytes:
        """The next one; nothing at the end, or when there was too much."""
        try:
            line = await stdout.readline()
        except ValueError:  # longer than the reader's limit
            line = b" " * (MAX_ANSWER_BYTES + 1)
        return line if self.take(len(line)) else b""

    async def _note_end(self, process: asyncio.subprocess.Process) -> None:
        """The output ended. What the command said on its way out is the only hint there is."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SEC)
        said = self._stderr_tail.decode("utf-8", "replace").strip()
        ended = "closed its output" if process.returncode is None else f"ended with exit code {process.returncode}"
        self.note(errors.MCP_NETWORK, f"the command {ended}" + (f": {said[-300:]}" if said else ""))

    async def _write(self, process: asyncio.subprocess.Process, from_session: Any) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, anyio.ClosedResourceError):
            async for sent in from_session:
                text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(65_536):
            self._stderr_tail = (self._stderr_tail + chunk)[-STDERR_TAIL_BYTES:]


def _close_stdin(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
