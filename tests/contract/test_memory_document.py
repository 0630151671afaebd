"""docs/memory.md, typed into a stack of its own: its embedding jobs run in a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import Document

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("memory document")]


def test_memory_goes_as_the_document_says(tmp_path: Path) -> None:
    document = Document("memory.md")
    with document.stack() as stack:
        shown, expected = document.typed_into(stack, tmp_path)

    assert len(expected) == 3
    assert shown == expected
