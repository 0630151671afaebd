"""docs/workspaces.md, typed into a stack of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import Document

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("workspaces document")]


def test_the_workspace_is_as_the_document_says(tmp_path: Path) -> None:
    document = Document("workspaces.md")
    with document.stack() as stack:
        shown, expected = document.typed_into(stack, tmp_path)

    assert len(expected) > 3
    assert shown == expected
