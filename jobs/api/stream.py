"""`GET /v1/jobs/{id}/stream`: one job live, as server-sent events (contract section 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.views import View

from access.authentication import authenticate_stream
from access.principals import Principal
from jobs.live.gate import admit, is_revoked, since_log_id
from jobs.live.hub import hub

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


class StreamHandler(ASGIHandler):
    """Django's ASGI handler for requests that stay open.

    The stock handler keeps a thread for each request as long as it lasts; with a thousand streams, a thousand. Here the
    few synchronous steps of all requests share one thread.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        await self.handle(scope, receive, send)


class JobStream(View):
    """Replays the log after `Last-Event-ID` or `since_log_id`, then follows the job until it has ended."""

    http_method_names = ["get", "head", "options"]

    async def get(self, request: HttpRequest, job_id: str) -> StreamingHttpResponse:
        """Stream. Errors are envelopes, before the first byte."""
        principal, job = await self._admit(request, job_id)
        since = since_log_id(request.headers.get("Last-Event-ID"), request.GET.get("since_log_id"))
        return StreamingHttpResponse(_body(principal, job, since), headers=HEADERS)

    async def head(self, request: HttpRequest, job_id: str) -> HttpResponse:
        """The headers of the stream, or the error."""
        await self._admit(request, job_id)
        return HttpResponse(headers=HEADERS)

    @staticmethod
    async def _admit(request: HttpRequest, job_id: str) -> tuple[Principal, UUID]:
        return await admit(partial(authenticate_stream, request, job_id), job_id)


stream = JobStream.as_view()


async def _body(principal: Principal, job_id: UUID, since: int) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    with hub().follow(job_id, since) as follower:
        async for events in follower:
            yield b"".join(event.sse for event in events)
            if await is_revoked(principal, events):
                return
