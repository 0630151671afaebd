"""docs/observability.md, typed into a stack of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import Document

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("observability")]


def test_the_page_goes_as_it_says(tmp_path: Path) -> None:
    document = Document("observability.md")

    with document.stack() as stack:
        shown, expected = document.typed_into(stack, tmp_path)

    assert len(expected) > 4
    assert shown == expected
