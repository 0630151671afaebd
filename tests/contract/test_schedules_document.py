"""docs/schedules.md, typed into a stack of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import Document

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("schedules document")]


def test_schedules_go_as_the_document_says(tmp_path: Path) -> None:
    document = Document("schedules.md")
    with document.stack() as stack:
        shown, expected = document.typed_into(stack, tmp_path)

    assert len(expected) > 4
    assert shown == expected
