"""Which short jobs share a message, what they take of a window and of limits, and what the reconciler makes of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py
from django.utils import timezone
from kombu import Connection
from pydantic import BaseModel

from jobs import dispatch, lifecycle, reconciler
from jobs.dispatch import SHORT_PER_PLACE, WINDOW_MIN, Message
from jobs.flow import Flow
from jobs.handlers import registry
from jobs.handlers.base import Handler, JobContext
from jobs.models import Job, JobType, Node, Queue, Status
from jobs.requests import NewJob
from jobs.slots import BUNDLE_MOST
from jobs.submission import Submitted, submit_batch
from jobs.transitions import Claim, Claimable
from rauskuclaw.celery import app
from rauskuclaw.wire import KEY_PREFIX, job_queue
from tests.conftest import NODE, WORKER

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wire")]

SHORT, LONG = "report.generate", "test.long"
LONG_AGO = timezone.now() - timedelta(hours=1)
MakeType = Callable[..., JobType]
MakeNode = Callable[..., Node]
Messages = Callable[..., list[bytes]]


class Nothing(BaseModel):
    """Input and output."""


class Long(Handler[Nothing, Nothing]):
    """Not short, as far as anybody knows."""

    id = "test:long"
    Input = Nothing
    Output = Nothing

    def run(self, ctx: JobContext[Nothing]) -> Nothing:
        return Nothing()


@pytest.fixture
def types(make_type: MakeType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.installed(), Long.id, Long())
    make_type(SHORT)
    make_type(LONG, handler=Long.id)


@pytest.fixture
def paused(db: None) -> Callable[[], None]:
    """The queue is paused, so that what is made waits. Returns what ends that and fills the window, once."""
    Queue.objects.create(name="default", paused=True)

    def resume() -> None:
        Queue.objects.update(paused=False)
        dispatch.fill("default", "process")

    return resume


def make(count: int = 1, *, type: str = SHORT, key: str = "", **fields: Any) -> list[Job]:
    """Jobs made in one batch."""
    done = submit_batch([NewJob(type=type, flow=Flow(concurrency_key=key), **fields)] * count, created_by="test")
    return [item.job for item in done if isinstance(item, Submitted)]


def in_messages(messages: list[bytes]) -> list[list[uuid.UUID]]:
    return [[job_id for job_id, _ in Message.parse(message).attempts] for message in messages]


def sizes(messages: list[bytes]) -> list[int]:
    return [len(ids) for ids in in_messages(messages)]


def published_jobs() -> list[Job]:
    return list(Job.objects.filter(status=Status.QUEUED, published_at__isnull=False))


def claim(jobs: list[Job]) -> list[Claim]:
    return lifecycle.claim_all([Claimable(job.id, job.fence, WORKER, NODE) for job in jobs])


def ids(jobs: list[Job]) -> list[uuid.UUID]:
    return [job.id for job in jobs]


@pytest.mark.parametrize(
    ("count", "slots", "expected"),
    [(10, 2, [5, 5]), (7, 2, [4, 3]), (3, 8, [1, 1, 1]), (100, 1, [BUNDLE_MOST, 36]), (1, 1, [1])],
    ids=["alike", "uneven", "fewer than slots", "at most so many", "one"],
)
def test_short_jobs_are_shared_out_among_the_slots(
    types: None, paused: Callable[[], None], make_node: MakeNode, published: Messages, count: int, slots: int,
    expected: list[int],
) -> None:  # fmt: skip
    make_node(concurrency=slots)
    jobs = make(count)

    paused()

    assert sizes(published()) == expected
    assert [job_id for group in in_messages(published()) for job_id in group] == ids(jobs)


def test_without_a_worker_each_has_its_own_message(
    types: None, paused: Callable[[], None], published: Messages
) -> None:
    make(3)

    paused()

    assert sizes(published()) == [1, 1, 1]


def test_jobs_that_are_not_short_have_their_own_messages(
    types: None, paused: Callable[[], None], make_node: MakeNode, published: Messages
) -> None:
    make_node(concurrency=1)
    make(2)
    make(2, type=LONG)
    make(2)

    paused()

    assert sizes(published()) == [4, 1, 1]


def row(**fields: Any) -> dict[str, Any]:
    """A job as fill.sql finds it."""
    plain = {
        "id": uuid.uuid4(), "queue": "default", "pool": "process", "fence": 0, "priority": 5, "timeout_sec": 60,
        "short": True, "slots": 1,
    }  # fmt: skip
    return plain | fields


@pytest.mark.parametrize(
    ("other", "messages"),
    [
        ({}, 1),
        ({"fence": 3}, 1),
        ({"queue": "other"}, 2),
        ({"pool": "io"}, 2),
        ({"priority": 6}, 2),
        ({"timeout_sec": 61}, 2),
        ({"short": False}, 2),
    ],
    ids=["nothing", "fence", "queue", "pool", "priority", "timeout", "short"],
)
def test_only_alike_jobs_share_a_message(wire: redis_py.Redis, other: dict[str, Any], messages: int) -> None:
    assert dispatch.publish([row(), row(), row(**other), row()])

    found = [it for key in wire.keys(f"{KEY_PREFIX}*") if wire.type(key) == b"list" for it in wire.lrange(key, 0, -1)]
    assert len(found) == messages


def test_what_a_message_says_comes_back(wire: redis_py.Redis) -> None:
    rows = [row(fence=n, timeout_sec=7) for n in range(3)]
    dispatch.publish(rows)

    message = dispatch.take_next(["default"], max_timeout_sec=7)

    assert message == Message(tuple((it["id"], it["fence"]) for it in rows), timeout_sec=7)


def test_celery_reads_a_message_of_several_too(wire: redis_py.Redis) -> None:
    rows = [row(), row()]
    dispatch.publish(rows)

    with Connection(app.conf.broker_url, transport_options=app.conf.broker_transport_options) as broker:
        found: Any = broker.SimpleQueue(app.amqp.queues[job_queue("default")]).get(timeout=5)  # type: ignore[arg-type]

    read = Message.of(found.decode()[1], found.headers["timelimit"])
    assert [job_id for job_id, _ in read.attempts] == [it["id"] for it in rows]


def test_a_message_of_an_older_version_is_of_one_job(wire: redis_py.Redis, published: Messages) -> None:
    one = row()
    dispatch.publish([one])

    (text,) = published()

    assert set(json.loads(json.loads(text)["body"])[1]) == {"job_id", "fence"}
    assert Message.parse(text).attempts == ((one["id"], 0),)


def test_short_jobs_share_the_places_of_a_window(types: None, paused: Callable[[], None]) -> None:
    make(WINDOW_MIN * SHORT_PER_PLACE + 10)

    paused()

    assert len(published_jobs()) == WINDOW_MIN * SHORT_PER_PLACE


def test_a_window_has_room_for_both_kinds(types: None, paused: Callable[[], None]) -> None:
    make(3, type=LONG, priority=9)
    make(WINDOW_MIN * SHORT_PER_PLACE)

    paused()

    kinds = [job.type for job in published_jobs()]
    assert (kinds.count(LONG), kinds.count(SHORT)) == (3, (WINDOW_MIN - 3) * SHORT_PER_PLACE)


def test_the_last_place_is_a_jobs_whose_turn_it_is_though_it_is_not_short(
    types: None, paused: Callable[[], None]
) -> None:
    make(WINDOW_MIN * SHORT_PER_PLACE - 1, priority=9)
    make(2, type=LONG)

    paused()

    assert [job.type for job in published_jobs()].count(LONG) == 1


def test_a_claim_says_how_many_places_are_taken(types: None, paused: Callable[[], None]) -> None:
    short, long = make(2 * SHORT_PER_PLACE + 2), make(3, type=LONG)
    paused()

    assert {it.left_in_window for it in claim(short[:2])} == {5}
    assert {it.left_in_window for it in claim(long[:1])} == {4}


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ({"max_running": 3}, 3),
        ({"max_running_per_key": 2}, 4),
        ({"rate_limit": 5, "rate_period_sec": 3600}, 5),
        ({"rate_limit": 2, "rate_period_sec": 3600, "rate_per_key": True}, 4),
        ({"paused": True}, 0),
    ],
    ids=["type", "key", "rate", "rate of a key", "paused"],
)
def test_limits_count_jobs_and_not_messages(
    types: None, make_type: MakeType, make_node: MakeNode, published: Messages, rule: dict[str, Any], most: int
) -> None:
    make_type(SHORT, **rule)
    make_node(concurrency=1)
    for key in "ab":
        make(10, key=key)

    dispatch.fill("default", "process")
    assert sum(sizes(published())) == len(published_jobs()) == most

    for member in published_jobs():
        claim([member])
    dispatch.fill("default", "process")
    assert (Job.objects.filter(status=Status.RUNNING).count(), published_jobs()) == (most, [])


@pytest.mark.parametrize("limit", [0, 3])
def test_a_queues_limit_counts_short_jobs_too(types: None, make_node: MakeNode, limit: int) -> None:
    Queue.objects.create(name="default", max_running=limit or None, paused=not limit)
    make_node(concurrency=1)
    make(10)

    dispatch.fill("default", "process")

    assert len(published_jobs()) == limit


@pytest.mark.parametrize(
    "rule",
    [{"max_running": 4}, {"max_running_per_key": 4}, {"rate_limit": 4, "rate_period_sec": 3600}],
    ids=["type", "key", "rate"],
)
def test_what_is_given_back_takes_up_no_limit_but_its_new_place(
    types: None, make_type: MakeType, rule: dict[str, Any]
) -> None:
    make_type(SHORT, **rule)
    make(10, key="a")
    dispatch.fill("default", "process")
    claims = claim(published_jobs())

    lifecycle.give_back([(it.id, it.fence) for it in claims[1:]], reason="test")

    assert len(published_jobs()) == 3
    assert Job.objects.filter(status=Status.RUNNING).count() == 1


def test_turns_go_round_between_keys(
    types: None, paused: Callable[[], None], make_node: MakeNode, published: Messages
) -> None:
    make_node(concurrency=1)
    for key in "abc":
        make(10, key=key)

    paused()

    (members,) = in_messages(published())
    key_of = {job.id: job.concurrency_key for job in published_jobs()}
    order = [key_of[job_id] for job_id in members]
    assert [sorted(order[n : n + 3]) for n in range(0, 30, 3)] == [["a", "b", "c"]] * 10


def test_more_urgent_jobs_go_first(
    types: None, paused: Callable[[], None], make_node: MakeNode, published: Messages
) -> None:
    make_node(concurrency=1)
    plain, urgent = make(3), make(3, priority=9)

    paused()

    assert in_messages(published()) == [ids(urgent), ids(plain)]


def bundled(jobs: list[Job]) -> None:
    """Publish these as one message, long ago."""
    Job.objects.filter(pk__in=ids(jobs)).update(published_at=LONG_AGO)
    facts = ("id", "queue", "pool", "fence", "priority", "timeout_sec", "short")
    dispatch.publish([{name: getattr(job, name) for name in facts} | {"slots": 1} for job in jobs])


def test_each_member_of_a_message_is_known_to_be_in_redis(
    types: None, wire: redis_py.Redis, published: Messages
) -> None:
    jobs = make(4)
    wire.flushdb()
    bundled(jobs)

    assert reconciler.republish_lost() == 0
    assert in_messages(published()) == [ids(jobs)]


def test_a_message_that_is_passed_over_goes_to_the_front_once(
    types: None, wire: redis_py.Redis, published: Messages
) -> None:
    jobs, urgent = make(4, priority=0), make(1, priority=9)
    wire.flushdb()
    bundled(jobs)
    dispatch.publish([row(id=urgent[0].id, priority=10)])

    for _ in range(2):
        assert reconciler.republish_lost() == 0

    assert in_messages(published()) == [ids(urgent), ids(jobs)]
    after = row(priority=10)
    dispatch.publish([after])
    assert in_messages(published())[1:] == [ids(jobs), [after["id"]]]


def test_members_that_redis_lost_are_published_again(types: None, wire: redis_py.Redis, published: Messages) -> None:
    jobs = make(4)
    wire.flushdb()
    bundled(jobs)
    wire.flushdb()

    assert reconciler.republish_lost() == 4
    assert sorted(job_id for group in in_messages(published()) for job_id in group) == sorted(ids(jobs))
    assert reconciler.republish_lost() == 0


def test_a_member_that_was_claimed_meanwhile_is_not_published_again(
    types: None, wire: redis_py.Redis, published: Messages
) -> None:
    jobs = make(3)
    wire.flushdb()
    bundled(jobs)
    wire.flushdb()
    claim(jobs[:1])

    assert reconciler.republish_lost() == 2


def test_of_a_message_that_redis_has_twice_each_is_claimed_once(types: None, published: Messages) -> None:
    jobs = make(3)
    bundled(jobs)
    bundled(jobs[1:])

    claims = [claim([job for job in jobs if job.id in group]) for group in in_messages(published())]

    assert sorted(it.id for found in claims for it in found) == sorted(ids(jobs))
