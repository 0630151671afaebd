"""Following one job from a terminal: its lines as they are committed, then its end.

Reads the rows by the rule of the live streams (`jobs.live.rows`): after a line's id, each line once and in order, state
and lines of one moment. No Redis, no web server.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from jobs.live.rows import UNAVAILABLE, Position, Rows, Snapshot
from jobs.models import Status

POLL_SEC = 0.25
AWAY_SEC = 1.0
"""Between tries while Postgres is away."""


def follow(
    job_id: uuid.UUID, *, after: int, tell: Callable[[Snapshot], None], away: Callable[[Exception], None]
) -> None:
    """Hand each piece of news to `tell`, from the line after id `after`, until the job has ended or its row is gone.

    away: told once each time Postgres stops answering; following goes on when it is back.
    """
    asyncio.run(_follow(Position(job_id, after), tell, away))


async def _follow(position: Position, tell: Callable[[Snapshot], None], away: Callable[[Exception], None]) -> None:
    rows, is_away = Rows(), False
    try:
        while True:
            try:
                news = await rows.news([position])
            except UNAVAILABLE as error:
                if not is_away:
                    away(error)
                is_away = True
                await asyncio.sleep(AWAY_SEC)
                continue
            is_away = False
            for snapshot in news:
                tell(snapshot)
                if snapshot.status is None or (Status(snapshot.status).is_terminal and not snapshot.more):
                    return
                last = snapshot.lines[-1].id if snapshot.lines else position.after
                position = Position(position.job_id, last, snapshot.version)
            if not any(snapshot.more for snapshot in news):
                await asyncio.sleep(POLL_SEC)
    finally:
        rows.drop_connection()
