"""Somebody swaps a directory, or a file, for a link while the server works with it: it must never get out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apiclient import Api
from tests.workspaces.conftest import SECRET, snapshot
from workspaces import files
from workspaces.faults import WorkspaceFault
from workspaces.paths import parse
from workspaces.tree import Tree

ENOUGH = 300
"""How often each outcome must have been seen: then the swap hit every moment of the walk many times over."""
MOST = 200_000


@contextmanager
def swapping(directory: Path, name: str, other: str) -> Iterator[None]:
    """While the block lasts, `name` and `other` change places all the time."""
    program = [sys.executable, str(Path(__file__).with_name("swapper.py")), str(directory), name, other]
    swapper = subprocess.Popen(program)
    try:
        yield
        assert swapper.poll() is None, "the swapper failed"
    finally:
        swapper.kill()
        swapper.wait()


def seen_often(attempt: Callable[[int], bool], *, enough: int = ENOUGH) -> None:
    """Try until it both worked and was refused so often."""
    outcomes = {True: 0, False: 0}
    for number in range(MOST):
        outcomes[attempt(number)] += 1
        if min(outcomes.values()) >= enough:
            return
    pytest.fail(f"the race did not happen: {outcomes}")


@pytest.fixture
def swapped_directory(root: Path, outside: Path) -> Iterator[None]:
    """`d` is now a directory with `secret.txt`, which says `inside`, now a link to the one outside."""
    (root / "d").mkdir()
    (root / "d" / "secret.txt").write_text("inside")
    (root / "other").symlink_to(outside)
    before = snapshot(outside)
    with swapping(root, "d", "other"):
        yield
    assert snapshot(outside) == before


@pytest.mark.usefixtures("swapped_directory")
def test_reading_in_a_swapped_directory_stays_inside(tree: Tree) -> None:
    path = parse("d/secret.txt", root=tree.root)

    def attempt(_: int) -> bool:
        try:
            assert files.read(tree, path, max_bytes=1000)[1] == b"inside"
        except WorkspaceFault:
            return False
        return True

    seen_often(attempt)


@pytest.mark.usefixtures("swapped_directory")
def test_writing_in_a_swapped_directory_stays_inside(tree: Tree) -> None:
    def attempt(number: int) -> bool:
        try:
            with tree.parent(parse(f"d/new-{number}/x", root=tree.root), make=True):
                pass
            files.delete(tree, parse(f"d/new-{number}", root=tree.root), recursive=True)
        except WorkspaceFault:
            return False
        return True

    seen_often(attempt, enough=100)


@pytest.mark.usefixtures("swapped_directory")
def test_replacing_and_moving_in_a_swapped_directory_stay_inside(tree: Tree, root: Path) -> None:
    path, away = parse("d/moving.txt", root=root), parse("notes/away.txt", root=root)

    def attempt(_: int) -> bool:
        try:
            files.create(tree, path, b"inside", max_bytes=1000, overwrite=True)
            files.write(tree, path, b"inside too", max_bytes=1000)
            files.move(tree, path, away, overwrite=True)
        except WorkspaceFault:
            return False
        return files.read(tree, away, max_bytes=1000)[1] == b"inside too"

    seen_often(attempt, enough=20)  # three verbs in a row seldom all meet the directory


@pytest.mark.usefixtures("swapped_directory")
def test_the_api_in_a_swapped_directory_stays_inside(web: Api) -> None:
    told: set[int] = set()

    def attempt(number: int) -> bool:
        read = web.get("/v1/workspace/download?path=d/secret.txt")
        written = web.post("/v1/workspace/create", {"path": f"d/by-api-{number}", "content": "x"})
        listed = web.get("/v1/workspace/files?path=d")
        told.update((read.status, written.status, listed.status))
        assert SECRET not in read.text
        assert "inner" not in listed.text
        return read.status == 200

    outcomes = [attempt(number) for number in range(300)]

    assert 0 < sum(outcomes) < len(outcomes)
    assert told <= {200, 201, 400}


def test_a_swapped_file_is_read_as_the_file_or_not_at_all(tree: Tree, root: Path, outside: Path) -> None:
    (root / "f").write_text("inside")
    (root / "other").symlink_to(outside / "secret.txt")
    path = parse("f", root=root)

    def attempt(_: int) -> bool:
        try:
            assert files.read(tree, path, max_bytes=1000)[1] == b"inside"
        except WorkspaceFault:
            return False
        return True

    with swapping(root, "f", "other"):
        seen_often(attempt)


def test_a_swapped_fifo_holds_nobody_up(tree: Tree, root: Path) -> None:
    (root / "f").write_text("inside")
    os.mkfifo(root / "other")
    path = parse("f", root=root)

    def attempt(_: int) -> bool:
        try:
            assert files.read(tree, path, max_bytes=1000)[1] == b"inside"
        except WorkspaceFault:
            return False
        return True

    with swapping(root, "f", "other"):
        seen_often(attempt)
