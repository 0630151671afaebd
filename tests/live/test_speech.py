"""Streaming text: whoever follows hears all of it once and in order, also who comes late or misses a piece."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from jobs import live
from jobs.live import hints
from jobs.live.follow import Follower
from jobs.live.hints import Delta, text_key
from jobs.live.hub import hub
from jobs.live.speech import Speech, said_so_far
from jobs.models import Job
from jobs.transitions import Claim
from rauskuclaw.redis import client

JOB = UUID(int=7)


def piece(offset: int, text: str, fence: int = 1) -> Delta:
    return Delta(JOB, fence, offset, text)


def said(speech: Speech, fence: int = 0, offset: int = 0) -> Any:
    event = speech.since(fence, offset)[1]
    return None if event is None else json.loads(event.data)


def test_pieces_come_together() -> None:
    speech = Speech()
    assert all(speech.take(it) for it in (piece(0, "Hei "), piece(4, "ä"), piece(6, "!")))

    assert said(speech) == {"text": "Hei ä!", "offset": 0, "attempt": 1}
    assert said(speech, 1, 4) == {"text": "ä!", "offset": 4, "attempt": 1}
    assert said(speech, 1, 7) is None


def test_a_piece_that_comes_twice_or_overlaps_is_heard_once() -> None:
    speech = Speech()
    assert all(speech.take(it) for it in (piece(0, "Hello"), piece(0, "Hello"), piece(2, "llo you")))

    assert said(speech)["text"] == "Hello you"


def test_a_gap_is_noticed_and_mended() -> None:
    speech = Speech()
    speech.take(piece(0, "He"))
    late = piece(5, " you")

    assert not speech.take(late)
    speech.mend(1, b"Hello", late)

    assert said(speech, 1, 2) == {"text": "llo you", "offset": 2, "attempt": 1}


def test_what_cannot_be_mended_goes_on_behind_the_gap() -> None:
    speech = Speech()
    speech.take(piece(0, "He"))

    speech.mend(1, None, piece(5, " you"))

    assert said(speech, 1, 2) == {"text": " you", "offset": 5, "attempt": 1}


def test_a_new_attempt_starts_over_and_an_old_one_is_not_heard_any_more() -> None:
    speech = Speech()
    assert all(
        speech.take(it) for it in (piece(0, "Hello"), piece(0, "Ni", 2), piece(5, " you", 1), piece(2, "hao", 2))
    )

    assert said(speech, 1, 5) == {"text": "Nihao", "offset": 0, "attempt": 2}


async def heard(follower: Follower, length: int) -> str:
    """The streaming text, as soon as so much of it has come."""
    text = ""
    async with asyncio.timeout(20):
        async for events in follower:
            text += "".join(json.loads(event.data)["text"] for event in events if event.name == "delta")
            if len(text) >= length:
                return text
    raise AssertionError("the stream ended")


@pytest.mark.django_db(transaction=True)
def test_who_comes_late_hears_what_was_said_and_what_follows(claimed: Callable[..., Claim]) -> None:
    claim = claimed()

    async def scenario() -> tuple[str, str]:
        live.announce_delta(claim.id, "Hello", fence=claim.fence, offset=0)
        while await asyncio.to_thread(said_so_far, claim.id, claim.fence) is None:
            await asyncio.sleep(0.01)
        with hub().follow(claim.id) as first, hub().follow(claim.id) as second:
            assert await heard(first, 5) == "Hello"
            live.announce_delta(claim.id, " you", fence=claim.fence, offset=5)
            return await heard(first, 4), await heard(second, 9)

    assert asyncio.run(scenario()) == (" you", "Hello you")


@pytest.mark.django_db(transaction=True)
def test_a_follower_that_takes_nothing_gets_the_rest_at_once(claimed: Callable[..., Claim]) -> None:
    claim = claimed()

    async def scenario() -> list[str]:
        with hub().follow(claim.id) as slow, hub().follow(claim.id) as quick:
            for number in range(200):
                live.announce_delta(claim.id, "word ", fence=claim.fence, offset=5 * number)
            await heard(quick, 1000)
            names = []
            async for events in slow:
                names += [event.name for event in events]
                if "delta" in names:
                    return names
        raise AssertionError("the stream ended")

    assert asyncio.run(scenario()).count("delta") == 1


def test_pieces_that_wait_for_redis_go_out_as_one() -> None:
    waiting = [piece(0, "a"), piece(0, "x", 2), piece(1, "ä"), piece(3, "c"), piece(9, "after a gap")]

    assert list(hints._joined(waiting)) == [piece(0, "aäc"), piece(0, "x", 2), piece(9, "after a gap")]


@pytest.mark.django_db
def test_text_with_a_hole_counts_as_lost(claimed: Callable[..., Claim]) -> None:
    job = Job.objects.get(pk=claimed().id)
    client().setrange(text_key(job.id, job.fence), 5, b"you")

    assert said_so_far(job.id, job.fence) is None
