"""The protocol over HTTP, at `/mcp`: streamable, without sessions, so that any web process answers any request.

The key of the request is checked at the door and goes along with each call, which our own application answers.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from access.authentication import anonymous_principal, authenticate_key, header_key, refuse_foreign_page
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.mcp.api import Api
from rauskuclaw.mcp.server import Context, make_server

OWN_URL = "http://localhost"
"""A name that the server always goes by; no request leaves the process."""

Scope = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


class McpEndpoint:
    """An ASGI application. api: the one that has `/v1`."""

    def __init__(self, api: App) -> None:
        self._transport = httpx.ASGITransport(app=api)
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one HTTP request: 400 for a foreign host, 401 without a key, 403 for a page of another origin."""
        try:
            await sync_to_async(_admit)(scope)
        except Problem as problem:
            await _refuse(problem, send)
            return
        manager = await self._started()
        await manager.handle_request(scope, receive, send)

    def _api_of(self, ctx: Context) -> Api:
        name = load().api_key_header
        key = ctx.request.headers.get(name, "") if ctx.request is not None else ""
        headers = {name: key} if key else {}
        # Nothing to close: the transport holds no connection.
        return Api(httpx.AsyncClient(transport=self._transport, base_url=OWN_URL, headers=headers, trust_env=False))

    async def _started(self) -> StreamableHTTPSessionManager:
        """The manager, whose tasks live in a task of ours: uvicorn tells of no start (`--lifespan off`)."""
        async with self._starting:
            if self._manager is None:
                manager = StreamableHTTPSessionManager(make_server(self._api_of), json_response=True, stateless=True)
                ready = asyncio.Event()

                async def run() -> None:
                    async with manager.run():
                        ready.set()
                        await asyncio.Event().wait()

                self._running = asyncio.create_task(run(), name="mcp")
                await ready.wait()
                self._manager = manager
        return self._manager


def _admit(scope: Scope) -> None:
    """Raise Problem unless the request may come in. Synchronous, as it may ask Postgres."""
    request = ASGIRequest(scope, io.BytesIO())
    try:
        request.get_host()
    except DisallowedHost:
        raise Problem(errors.VALIDATION_ERROR, "The server does not go by that name: see ALLOWED_HOSTS.") from None
    refuse_foreign_page(request)
    key = header_key(request)
    if key:
        authenticate_key(request, key)
    else:
        anonymous_principal()


async def _refuse(problem: Problem, send: Any) -> None:
    body = json.dumps(problem.as_envelope()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.code.status or 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
