"""A client that follows one job over SSE or WebSocket, drops the connection when it likes, and resumes elsewhere."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.chaos.history import History
from tests.chaos.plan import Wire

LOST = (httpx.HTTPError, WebSocketException, OSError, TimeoutError)
SILENCE_SEC = 30.0
"""Heartbeats come every 20 s: longer silence is a dead connection."""
MOST_EVENTS = 12
"""A connection is dropped after at most so many events."""

StreamEvent = tuple[str, Any, int | None]
"""Name, data, id."""


class Follower:
    """Follows a job until it is told that the job has ended, over as many connections as that takes."""

    def __init__(
        self,
        job_id: str,
        wire: Wire,
        bases: list[str],
        headers: dict[str, str],
        history: History,
        dice: random.Random,
    ) -> None:
        self._job_id, self._wire = job_id, wire
        self._bases, self._headers = bases, headers
        self._history, self._dice = history, dice
        self._last_id = 0

    async def run(self) -> None:
        """Follow. Cancel it when it should have heard of the end: the checker says that it has not."""
        while not await self._one_connection():
            await asyncio.sleep(self._dice.uniform(0, 0.3))

    async def _one_connection(self) -> bool:
        """Whether the end came."""
        began, since = self._history.now(), self._last_id
        ids: list[int] = []
        statuses: list[str] = []
        end: str | None = None
        drop_after = self._dice.randint(1, MOST_EVENTS)
        events = self._sse(since) if self._wire == "sse" else self._socket(since)
        try:
            async with asyncio.timeout(SILENCE_SEC) as silence:
                async for name, data, id_ in events:
                    silence.reschedule(asyncio.get_running_loop().time() + SILENCE_SEC)
                    if name == "log_append" and id_ is not None:
                        ids.append(id_)
                    elif name == "job_update":
                        statuses.append(data["job"]["status"])
                    elif name == "end":
                        end = data.get("status", data["reason"])
                    if end or len(ids) >= drop_after:
                        break
        except LOST:
            pass
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        self._last_id = max([since, *ids])
        self._history.add(
            "stream",
            began=began,
            job=self._job_id,
            wire=self._wire,
            since=since,
            ids=ids,
            statuses=statuses,
            end=end,
        )
        return end is not None

    async def _sse(self, since: int) -> AsyncIterator[StreamEvent]:
        url = f"{self._dice.choice(self._bases)}/v1/jobs/{self._job_id}/stream"
        headers = {**self._headers, "Last-Event-ID": str(since)}
        async with (
            httpx.AsyncClient(headers=headers, timeout=SILENCE_SEC, trust_env=False) as http,
            http.stream("GET", url) as answer,
        ):
            if not answer.is_success:
                return
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                if "event" in fields:
                    id_ = int(fields["id"]) if "id" in fields else None
                    yield fields["event"], json.loads(fields["data"]), id_
                fields = {}

    async def _socket(self, since: int) -> AsyncIterator[StreamEvent]:
        base = self._dice.choice(self._bases).replace("http", "ws", 1)
        url = f"{base}/ws/jobs/{self._job_id}?since_log_id={since}"
        async with connect(url, additional_headers=self._headers, open_timeout=10, proxy=None) as socket:
            async for text in socket:
                frame = json.loads(text)
                yield frame["event"], frame["data"], frame.get("id")
