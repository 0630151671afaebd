"""The hub inside a process: what it reads, what it shares, and what it drops."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack
from uuid import UUID

import pytest

from access.principals import Principal
from jobs import lifecycle, live
from jobs.live import follow, hints, watch
from jobs.live.events import HEARTBEAT, Event
from jobs.live.gate import in_thread, is_revoked, since_log_id
from jobs.live.hub import hub
from jobs.live.rows import Position, Rows, Snapshot
from jobs.models import Job
from rauskuclaw import redis

Configure = Callable[..., object]


async def until(news: AsyncIterator[tuple[Event, ...]], name: str) -> list[Event]:
    """The events up to the batch with one called `name`."""
    taken: list[Event] = []
    async with asyncio.timeout(15):
        async for events in news:
            taken += events
            if any(event.name == name for event in events):
                return taken
    raise AssertionError(f"no {name}")


async def append(job_id: UUID, *messages: str) -> None:
    await in_thread(lifecycle.append_logs, job_id, [("info", message, None) for message in messages])


async def all_until(followers: list[follow.Follower], name: str) -> list[list[Event]]:
    return await asyncio.gather(*(until(follower, name) for follower in followers))


class CountedRows(Rows):
    """Rows that note how many positions each statement asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def news(self, positions: Collection[Position]) -> list[Snapshot]:
        self.asked.append(len(positions))
        return await super().news(positions)


def counted_follows() -> tuple[follow.Follows, CountedRows]:
    """Follows that nobody rings for, and their rows."""
    rows = CountedRows()
    follows = follow.Follows(rows)
    follows.hears_hints = True
    return follows, rows


def test_one_line_for_many_followers_is_read_and_serialised_once(job: Job) -> None:
    async def scenario() -> set[int]:
        with ExitStack() as stack:
            followers = [stack.enter_context(hub().follow(job.id)) for _ in range(100)]
            await all_until(followers, "log_append")
            news = asyncio.create_task(all_until(followers, "log_append"))
            await append(job.id, "shared")
            return {id(events[-1]) for events in await news}

    assert len(asyncio.run(scenario())) == 1


def test_many_jobs_that_rang_are_read_in_one_statement(make_job: Callable[..., Job], job: Job) -> None:
    ids = tuple(make_job().id for _ in range(20))

    def cancel_all() -> None:
        for job_id in ids:
            lifecycle.cancel(job_id, by="test")

    async def scenario() -> list[int]:
        follows, rows = counted_follows()
        reading = asyncio.create_task(follows.run())
        with ExitStack() as stack:
            followers = [stack.enter_context(follows.following(job_id, 0)) for job_id in ids]
            await all_until(followers, "log_append")
            await in_thread(cancel_all)
            rows.asked.clear()
            news = asyncio.create_task(all_until(followers, "end"))
            await asyncio.sleep(0)  # until all of them wait
            follows.ring(ids)
            await news
        reading.cancel()
        rows.drop_connection()
        return rows.asked

    assert asyncio.run(scenario()) == [20]


def test_a_follower_that_takes_nothing_delays_no_other(job: Job) -> None:
    async def scenario() -> list[Event]:
        with hub().follow(job.id) as stuck, hub().follow(job.id) as quick:
            await until(stuck, "log_append")
            await until(quick, "log_append")
            for number in range(5):
                await append(job.id, f"line {number}")
                await until(quick, "log_append")
            return [event for event in await until(stuck, "log_append") if event.id]

    assert len(asyncio.run(scenario())) == 5


def test_silence_is_broken_by_heartbeats(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "HEARTBEAT_SEC", 0.01)

    async def scenario() -> None:
        with hub().follow(job.id) as follower:
            await until(follower, "log_append")
            assert HEARTBEAT in await until(follower, "heartbeat")

    asyncio.run(scenario())


def test_a_closing_server_ends_streams_without_an_end_event(job: Job) -> None:
    async def scenario() -> list[Event]:
        with hub().follow(job.id) as follower:
            await until(follower, "log_append")
            hub().close()
            return [event async for events in follower for event in events]

    assert asyncio.run(scenario()) == []


def test_a_watcher_that_takes_nothing_is_told_to_load_the_list(
    make_job: Callable[..., Job], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PENDING_MOST", 2)

    async def scenario() -> list[str]:
        with hub().watch(lambda job: True) as stuck, hub().watch(lambda job: True) as quick:
            await until(stuck, "resync")
            await until(quick, "resync")
            for _ in range(3):
                await in_thread(make_job)
                await until(quick, "job_update")
            return [event.name for event in await until(stuck, "resync")]

    assert asyncio.run(scenario())[0] == "resync", "nothing from before it"


def test_the_list_shows_the_newest_of_quick_changes(job: Job) -> None:
    async def scenario() -> list[Event]:
        watcher = watch.Watcher(lambda job: True)
        for number in range(3):
            watcher.deliver(job, Event("job_update", str(number)))
        return await until(watcher, "job_update")

    assert [event.data for event in asyncio.run(scenario())] == ["2"]


def test_announcing_without_redis_neither_raises_nor_waits(configure: Configure) -> None:
    configure(REDIS_URL="redis://127.0.0.1:1/0")
    redis.forget()
    try:
        live.announce([uuid.uuid4()])
        live.announce_delta(uuid.uuid4(), "text \ud800", fence=1, offset=0)
    finally:
        redis.forget()


def test_a_heartbeat_finds_out_that_the_credential_is_gone(transactional_db: None) -> None:
    gone = Principal(name="old", role="admin", source="db", reference=f"db:{uuid.uuid4()}")

    assert asyncio.run(is_revoked(gone, [HEARTBEAT]))
    assert not asyncio.run(is_revoked(gone, [Event("progress")]))


def test_hints_survive_the_wire() -> None:
    job_id = uuid.uuid4()

    assert hints.parse(f"jobs {job_id.hex} {job_id.hex}".encode()) == hints.Rings((job_id, job_id))
    assert hints.parse(f"delta {job_id.hex} 2 7 a  b\n".encode()) == hints.Delta(job_id, 2, 7, "a  b\n")
    assert hints.parse(f"delta {job_id.hex} 1 0 ".encode()) == hints.Delta(job_id, 1, 0, "")


@pytest.mark.parametrize("message", [b"", b"jobs", b"jobs x", b"delta 1", b"\xff\x00", b"delta x y z", b"delta 1 2"])
def test_foreign_messages_on_the_channel_are_ignored(message: bytes) -> None:
    assert hints.parse(message) is None


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [((None, ""), 0), (("5", "7"), 7), (("-5", "x"), 0), (("9" * 30, "1"), 2**63 - 1), (("٣", "1.5"), 0)],
)
def test_resume_point_is_the_larger_positive_integer(candidates: tuple[str | None, ...], expected: int) -> None:
    assert since_log_id(*candidates) == expected
