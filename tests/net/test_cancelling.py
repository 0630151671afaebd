"""A cancelled request is over for the server too: its connection is closed, wherever it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from rauskuclaw.netguard import listed_hosts
from rauskuclaw.netguard_async import guarded_client, open_url, read_capped
from tests.net.servers import Exchange, serving

Respond = Callable[[Exchange], object]


async def fetch(url: str) -> None:
    """Never comes back: the servers of this module do not end."""
    async with (
        guarded_client(timeout_sec=60, private_hosts=listed_hosts(["localhost"])) as client,
        open_url(client, url, permit=lambda _target: None) as response,
    ):
        await read_capped(response, max_bytes=1_000_000)


def before_the_headers(_exchange: Exchange) -> None:
    """Say nothing."""


def amid_the_body(exchange: Exchange) -> None:
    """Say half of it."""
    exchange.answer(200, b"half", size=1000)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("begin", [before_the_headers, amid_the_body])
def test_the_server_sees_the_connection_close(begin: Respond, tls: bool, trusted_ca: None) -> None:
    asked, closed = threading.Event(), threading.Event()

    def respond(exchange: Exchange) -> None:
        begin(exchange)
        asked.set()
        exchange.connection.settimeout(30)
        try:
            if exchange.connection.recv(1) == b"":
                closed.set()
        except ConnectionResetError:
            closed.set()

    async def cancel_amid(url: str) -> bool:
        request = asyncio.create_task(fetch(url))
        await asyncio.to_thread(asked.wait, 30)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        # The loop goes on, as a worker's does: nothing but the cancel can have closed the connection.
        return await asyncio.to_thread(closed.wait, 30)

    with serving(respond, tls=tls) as server:
        assert asyncio.run(cancel_amid(f"http{'s' if tls else ''}://localhost:{server.port}/"))
