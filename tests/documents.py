"""Documents that are sessions: their commands typed into a stack, and what must come out."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.running import ROOT, RunningStack, running_stack

END = "--- end of block"


class Document:
    """A page of docs/ with blocks of `sh`, each followed by a block of `text`: what the commands print."""

    def __init__(self, name: str) -> None:
        self._text = (ROOT / "docs" / name).read_text("utf-8")
        self._blocks = re.findall(r"^```sh\n(.*?)^```\n\n^```text\n(.*?)^```", self._text, re.DOTALL | re.MULTILINE)
        assert len(self._blocks) == self._text.count("```sh\n"), "a block of sh without its text"

    @contextlib.contextmanager
    def stack(self) -> Iterator[RunningStack]:
        """A stack started as the page says, with the key that bootstrap makes."""
        command = re.search(r"^```console\n\$ (.+?) make up\n", self._text, re.MULTILINE)
        assert command is not None
        settings = dict(word.split("=", 1) for word in shlex.split(command[1]))
        with running_stack(API_KEY="", **settings) as running:
            running.http.headers["x-api-key"] = (running.var / "secrets" / "api_key").read_text("utf-8").strip()
            yield running

    def typed_into(self, stack: RunningStack, folder: Path) -> tuple[list[list[str]], list[list[Like]]]:
        """The lines that each block prints, and those that the page shows."""
        script = "".join(f"{commands}\necho '{END}'\n" for commands, _ in self._blocks)
        typed = subprocess.run(
            ["bash", "-c", script], cwd=folder, env={**os.environ, "VAR_DIR": str(stack.var), "PORT": str(stack.port)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
        )  # fmt: skip
        shown = [block.strip().splitlines() for block in typed.stdout.split(f"{END}\n")[:-1]]
        expected = [[Like(line) for line in text.splitlines()] for _, text in self._blocks]
        return [[line.rstrip() for line in lines] for lines in shown], expected


class Like(str):
    """A line of the document: `…` stands for anything."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return re.fullmatch(".+".join(map(re.escape, self.split("…"))), str(other)) is not None

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__
