"""Waiting: for an event or a moment, and between tries."""

from __future__ import annotations

import asyncio


def now() -> float:
    """The running loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


async def set_or_time(event: asyncio.Event, moment: float) -> None:
    """Return when `event` is set or the running loop's clock reaches `moment`, whichever comes first."""
    try:
        async with asyncio.timeout_at(moment):
            await event.wait()
    except TimeoutError:
        pass


class Backoff:
    """Waits between failures: 0.1 s, doubling up to 2 s."""

    FIRST_SEC, MOST_SEC = 0.1, 2.0

    def __init__(self) -> None:
        self.failures = 0

    def reset(self) -> None:
        """It worked: the next failure is a first one."""
        self.failures = 0

    async def wait(self) -> None:
        """Count a failure and wait before the next try."""
        pause_sec = min(self.MOST_SEC, self.FIRST_SEC * 2**self.failures)
        self.failures = min(self.failures + 1, 10)
        await asyncio.sleep(pause_sec)
