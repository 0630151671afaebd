"""A workspace of the test's own, beside a secret that must stay where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apiclient import Api
from workspaces.tree import Tree

SECRET = "the secret outside of the workspace"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the workspace, with `secret.txt`."""
    (tmp_path / "outside" / "inner").mkdir(parents=True)
    (tmp_path / "outside" / "secret.txt").write_text(SECRET)
    (tmp_path / "outside" / "inner" / "secret.txt").write_text(SECRET)
    return tmp_path / "outside"


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    """The workspace: `notes/today.md`, `notes/deep/er.txt`, `readme.txt`."""
    (tmp_path / "workspace" / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "workspace" / "notes" / "today.md").write_text("# Today\n")
    (tmp_path / "workspace" / "notes" / "deep" / "er.txt").write_text("deeper\n")
    (tmp_path / "workspace" / "readme.txt").write_text("Read me.\n")
    return tmp_path / "workspace"


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(root)


@pytest.fixture
def web(api: Api, root: Path, configure: Callable[..., Any]) -> Api:
    """The API over that workspace."""
    configure(WORKSPACE_ROOT=root)
    return api


def snapshot(directory: Path) -> dict[str, tuple[int, bytes | None]]:
    """All that is in a directory: to see that it stayed the same."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_nlink, path.read_bytes() if path.is_file() else None)
        for path in sorted(directory.rglob("*"))
    }
