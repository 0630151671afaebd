"""Jobs live on WebSocket. Text frames: `{"event": str, "id"?: int, "data": object}`, the events of the event stream.

A refusal accepts the handshake and closes at once with 4000 + the HTTP status (4401, 4403, 4404, 4503) and the error
code as the reason: a browser shows a page neither the status nor the body of a refused handshake. 1000 is the end of
the job; after any other close, connect again with `since_log_id` set to the last id seen.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer

from access.principals import Principal
from access.websocket import authenticate_scope
from jobs.live.events import Event
from jobs.live.gate import admit, in_thread, is_revoked, since_log_id
from jobs.live.hub import hub
from jobs.models import Job
from rauskuclaw import errors
from rauskuclaw.api.errors import problem_of
from rauskuclaw.errors import Problem

logger = logging.getLogger(__name__)

Subscription = AbstractContextManager[AsyncIterator[tuple[Event, ...]]]


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
    """Sends a subscription's events until it ends or the client leaves. What a client sends is ignored."""

    _sending: asyncio.Task[None] | None = None

    @abstractmethod
    async def subscribe(self) -> tuple[Principal, Subscription]:
        """Who connects, and what is sent to them. Raises Problem, or what Django raises when Postgres is away.

        The subscription, too, may raise Problem when it begins.
        """

    async def connect(self) -> None:
        """Accept, then send or refuse."""
        await self.accept()
        try:
            principal, subscription = await self.subscribe()
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                logger.exception("a WebSocket could not be opened")
                problem = Problem(errors.INTERNAL_ERROR, "The server failed.")
            await self._refuse(problem.code)
        else:
            self._sending = asyncio.create_task(self._send_all(principal, subscription))

    async def disconnect(self, code: int) -> None:
        """Release the subscription."""
        if self._sending is not None:
            self._sending.cancel()

    async def _send_all(self, principal: Principal, subscription: Subscription) -> None:
        try:
            with suppress(OSError), subscription as news:  # OSError: uvicorn's word for a client that has just left
                async for events in news:
                    for event in events:
                        await self.send(text_data=event.frame)
                    if await is_revoked(principal, events):
                        await self._refuse(errors.UNAUTHORIZED)
                        return
                await self.close(1000)
        except Problem as problem:
            await self._refuse(problem.code)

    async def _refuse(self, code: errors.Code) -> None:
        await self.close(4000 + (code.status or 500), code.name)

    def _query(self, name: str) -> str | None:
        """A query parameter; the literal `undefined` of careless clients counts as absent (contract section 0)."""
        value = parse_qs(self.scope["query_string"].decode("latin-1")).get(name, [""])[0]
        return value if value not in {"", "undefined"} else None


class JobConsumer(LiveConsumer):
    """`/ws/jobs/{id}?since_log_id=`: one job, as on the event stream, with `heartbeat` as a frame."""

    async def subscribe(self) -> tuple[Principal, Subscription]:
        """The job, from the line after `since_log_id`."""
        job_id: str = self.scope["url_route"]["kwargs"]["job_id"]
        principal, found = await admit(partial(authenticate_scope, self.scope, job_id), job_id)
        return principal, hub().follow(found, since_log_id(self._query("since_log_id")))


class JobListConsumer(LiveConsumer):
    """`/ws/jobs?queue=&type=`: `job_update` of the jobs on visible queues, and `resync`: load the list (again) now."""

    async def subscribe(self) -> tuple[Principal, Subscription]:
        """The visible jobs, narrowed by the query's filters. Raises FORBIDDEN for a queue that may not be seen."""
        principal = await in_thread(authenticate_scope, self.scope, None)
        queue, job_type = self._query("queue"), self._query("type")
        if queue is not None:
            principal.require_queue(queue)

        def wants(job: Job) -> bool:
            return principal.allows_queue(job.queue) and queue in {None, job.queue} and job_type in {None, job.type}

        return principal, hub().watch(wants)
