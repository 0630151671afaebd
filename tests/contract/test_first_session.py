"""docs/first-session.md, typed into a stack of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import ROOT, RunningStack, running_stack

DOCUMENT = (ROOT / "docs" / "first-session.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```\n\n^```text\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("first session")]


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    """Started as the document says, with the key that bootstrap makes."""
    command = re.search(r"^```console\n\$ (.+?) make up\n", DOCUMENT, re.MULTILINE)
    assert command is not None
    settings = dict(word.split("=", 1) for word in shlex.split(command[1]))
    with running_stack(API_KEY="", **settings) as running:
        running.http.headers["x-api-key"] = (running.var / "secrets" / "api_key").read_text("utf-8").strip()
        yield running


def test_the_first_session_goes_as_the_document_says(stack: RunningStack, tmp_path: Path) -> None:
    script = "".join(f"{commands}\necho '--- end of block'\n" for commands, _ in BLOCKS)

    typed = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "VAR_DIR": str(stack.var), "PORT": str(stack.port)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
    )  # fmt: skip

    shown = [block.strip().splitlines() for block in typed.stdout.split("--- end of block\n")[:-1]]
    assert len(BLOCKS) == DOCUMENT.count("```sh\n") > 5
    assert [[line.rstrip() for line in lines] for lines in shown] == [
        [Like(line) for line in expected.splitlines()] for _, expected in BLOCKS
    ]


def test_a_switched_off_fetch_fails_after_both_its_attempts(stack: RunningStack) -> None:
    """The smoke suite m1 of existing clients waits 40 s for this."""
    job = stack.submit("data.fetch", input={"url": "https://example.com/"}, max_attempts=2)

    ended = stack.wait_for(job["id"], "failed", timeout_sec=40)

    assert (ended["attempts"], ended["error"]["code"]) == (2, "HANDLER_DISABLED")


class Like(str):
    """A line of the document: `…` stands for anything."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return re.fullmatch(".+".join(map(re.escape, self.split("…"))), str(other)) is not None

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__
