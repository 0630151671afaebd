"""docs/first-session.md, typed into a stack of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import Document
from tests.running import RunningStack

DOCUMENT = Document("first-session.md")

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("first session")]


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    """Started as the document says, with the key that bootstrap makes."""
    with DOCUMENT.stack() as running:
        yield running


def test_the_first_session_goes_as_the_document_says(stack: RunningStack, tmp_path: Path) -> None:
    shown, expected = DOCUMENT.typed_into(stack, tmp_path)

    assert len(expected) > 5
    assert shown == expected


def test_a_switched_off_fetch_fails_after_both_its_attempts(stack: RunningStack) -> None:
    """The smoke suite m1 of existing clients waits 40 s for this."""
    job = stack.submit("data.fetch", input={"url": "https://example.com/"}, max_attempts=2)

    ended = stack.wait_for(job["id"], "failed", timeout_sec=40)

    assert (ended["attempts"], ended["error"]["code"]) == (2, "HANDLER_DISABLED")
