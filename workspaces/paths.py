"""What a path in the workspace may look like. Text alone: where it leads is for `tree.py` to see."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from workspaces.faults import Refused

MAX_CHARS = 2000
MAX_NAME_BYTES = 255
"""What file systems take for one name."""
MAX_DEPTH = 100
DRAFT_PREFIX = ".rauskuclaw-"
"""How the names of unfinished files begin (`tree.Draft`); nobody else may use or see them."""
_JOINERS = frozenset("\u200c\u200d")
"""Invisible, and yet part of Persian words and of emoji."""
_LOOK_LIKE_SEPARATORS = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c")
_WHAT = {
    "Cc": "a control character",
    "Cf": "an invisible or direction-changing character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


@dataclass(frozen=True)
class WorkspacePath:
    """A path beneath the root that is safe to read aloud: no part is empty, `.`, `..`, or looks like something else.

    asked_as: the field of the request that held it.
    """

    parts: tuple[str, ...] = ()
    asked_as: str = field(default="path", compare=False)

    def __str__(self) -> str:
        return "/".join(self.parts) or "."

    @property
    def name(self) -> str:
        """The last part; empty for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> WorkspacePath:
        """The directory that holds it; of the root, the root."""
        return WorkspacePath(self.parts[:-1], self.asked_as)

    def __truediv__(self, name: str) -> WorkspacePath:
        return WorkspacePath((*self.parts, name), self.asked_as)

    def is_beneath(self, other: WorkspacePath) -> bool:
        """Whether it is `other` or in it."""
        return self.parts[: len(other.parts)] == other.parts


ROOT = WorkspacePath()


def parse(text: str, *, root: Path, asked_as: str = "path") -> WorkspacePath:
    """The path that `text` names: relative with `/` between the parts, or absolute and beneath `root`.

    Raises Refused for all that leads out, tries to, or could be taken for something else.
    """
    if len(text) > MAX_CHARS:
        raise Refused(asked_as, f"is longer than {MAX_CHARS} characters")
    if text.startswith("/"):
        within = f"{text}/".removeprefix(f"{root}/")
        if within.startswith("/"):
            raise Refused(asked_as, "must be relative to the workspace, e.g. notes/today.md")
        text = within
    parts = tuple(part for part in text.split("/") if part not in {"", "."})
    if len(parts) > MAX_DEPTH:
        raise Refused(asked_as, f"is more than {MAX_DEPTH} directories deep")
    for part in parts:
        if problem := _problem(part):
            raise Refused(asked_as, problem)
    return WorkspacePath(parts, asked_as)


def require_new_name(path: WorkspacePath) -> None:
    """Refuse to make a name that looks the same as another one: only the composed form (NFC) is made here."""
    if not unicodedata.is_normalized("NFC", path.name):
        raise Refused(path.asked_as, "has a name in decomposed Unicode: use its composed form (NFC)")


def is_presentable(name: str) -> bool:
    """Whether a name that the file system holds can be asked for."""
    return not _problem(name)


def _problem(name: str) -> str:
    """Why `name` cannot be a part of a path; empty if it can."""
    if name == "..":
        return "may not hold `..`"
    if name.startswith(DRAFT_PREFIX):
        return f"may not hold a name that begins with {DRAFT_PREFIX}"
    if not name.isascii() or not name.isprintable() or "\\" in name:
        if problem := next(filter(None, map(_character_problem, name)), ""):
            return problem
        plain = unicodedata.normalize("NFKC", name)
        if plain in {".", ".."} or "/" in plain or "\\" in plain:
            return "may not hold characters that stand for dots or separators"
    too_long = len(name.encode()) > MAX_NAME_BYTES
    return f"may not hold a name of more than {MAX_NAME_BYTES} bytes" if too_long else ""


def _character_problem(character: str) -> str:
    category = unicodedata.category(character)
    if character == "\0":
        return "may not hold the NUL character"
    if character == "\\":
        return "may not hold a backslash: write / between directories"
    if category in _WHAT and character not in _JOINERS:
        return f"may not hold {_WHAT[category]} (U+{ord(character):04X})"
    if character in _LOOK_LIKE_SEPARATORS:
        return f"may not hold a character that looks like a separator (U+{ord(character):04X})"
    return ""
