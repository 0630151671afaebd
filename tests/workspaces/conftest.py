"""A workspace of the test's own, beside a secret that must stay where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apiclient import Api
from workspaces.paths import DRAFT_PREFIX
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


def form(path: str, content: bytes, **fields: str) -> dict[str, Any]:
    """A multipart upload, for `web.post(...)`; the path comes after the file."""
    parts = [b'Content-Disposition: form-data; name="file"; filename="any"\r\n\r\n' + content]
    parts += [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, value in {"path": path, **fields}.items()
    ]
    body = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return {"body": body, "content_type": "multipart/form-data; boundary=limit"}


def drafts(root: Path) -> list[Path]:
    """What unfinished writes have left."""
    return [path for path in root.rglob("*") if path.name.startswith(DRAFT_PREFIX)]
