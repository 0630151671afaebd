"""`netguard_async`, to be called as `netguard` is: each call runs in a loop of its client's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from rauskuclaw import netguard_async


class Client:
    """An AsyncClient for callers that cannot wait for it."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self.runner, self.client = runner, client

    def get(self, url: str) -> httpx.Response:
        """The whole answer."""
        return self.runner.run(self.client.get(url))

    def post(self, url: str, *, content: bytes) -> httpx.Response:
        """The whole answer."""
        return self.runner.run(self.client.post(url, content=content))


class Response:
    """A streamed answer, and the loop it comes in."""

    def __init__(self, runner: asyncio.Runner, response: httpx.Response) -> None:
        self.runner, self.response = runner, response


@contextmanager
def guarded_client(**options: Any) -> Iterator[Client]:
    """As `netguard.guarded_client`."""
    with asyncio.Runner() as runner:
        client = netguard_async.guarded_client(**options)
        try:
            yield Client(runner, client)
        finally:
            runner.run(client.aclose())


@contextmanager
def open_url(client: Client, url: str, **options: Any) -> Iterator[Response]:
    """As `netguard.open_url`."""
    opening = netguard_async.open_url(client.client, url, **options)
    run = client.runner.run
    response = run(_enter(opening))
    try:
        yield Response(client.runner, response)
    finally:
        run(_leave(opening))


def read_capped(response: Response, *, max_bytes: int) -> tuple[bytes, bool]:
    """As `netguard.read_capped`."""
    return response.runner.run(netguard_async.read_capped(response.response, max_bytes=max_bytes))


async def _enter(opening: Any) -> httpx.Response:
    response: httpx.Response = await opening.__aenter__()
    return response


async def _leave(opening: Any) -> None:
    await opening.__aexit__(None, None, None)
