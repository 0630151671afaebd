"""What killed writes have left goes, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.workspaces.conftest import drafts
from workspaces import upkeep
from workspaces.paths import DRAFT_PREFIX
from workspaces.tree import Tree


@pytest.fixture
def left(root: Path, outside: Path) -> Path:
    """Drafts in two directories, a directory put aside, and a link that is named like one."""
    (root / f"{DRAFT_PREFIX}upload").write_text("half an upl")
    (root / "notes" / "deep" / f"{DRAFT_PREFIX}text").write_text("half a te")
    (root / "notes" / f"{DRAFT_PREFIX}aside" / "inner").mkdir(parents=True)
    (root / "notes" / f"{DRAFT_PREFIX}link").symlink_to(outside)
    return root


def test_abandoned_drafts_are_removed(tree: Tree, left: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ABANDONED_SEC", -1)

    assert upkeep.sweep(tree) == 4

    assert drafts(left) == []
    assert sorted(path.name for path in left.rglob("*")) == ["deep", "er.txt", "notes", "readme.txt", "today.md"]
    assert (outside / "secret.txt").exists()


def test_drafts_in_the_making_stay(tree: Tree, left: Path) -> None:
    os.utime(left / f"{DRAFT_PREFIX}upload", (0, 0))

    assert upkeep.sweep(tree) == 0
    assert len(drafts(left)) == 4
