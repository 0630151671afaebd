"""Finding the jobs that an answer suggests, and which of them may run without being asked (contract 14.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rauskuclaw.patterns import QUEUE

MAX_SUGGESTIONS = 40
MAX_TAGS = 20
DEFAULT_TIMEOUT_SEC = 120
ALIKE = 0.6
"""Share of common words from which a suggested question is the person's own."""

Mode = Literal["smart", "always", "never"]

_FENCE = re.compile(r"```[ \t]*rausku_jobs[ \t]*\r?\n?")
_JOBS_KEY = re.compile(r'"jobs"\s*:')
_CHAT_TYPE = re.compile(r".*\.chat\.generate")
_NO_WORD = re.compile(r"[^\w]+")
_decoder = json.JSONDecoder()

_ALIASES = {
    **dict.fromkeys(
        ("tools.exec", "tools.command", "tools.terminal", "tools.bash", "shell.exec", "command.exec", "terminal.exec",
         "bash.exec"), "tool.exec",
    ),
    **dict.fromkeys(("tool.web_search", "web.search", "web_search"), "tools.web_search"),
    **dict.fromkeys(("file.search", "workspace.file_search", "data.file_search"), "tools.file_search"),
    **dict.fromkeys(("find.in_files", "tools.find_in_file"), "tools.find_in_files"),
}  # fmt: skip
_FALLBACK_CHAT_TYPES = ("ai.chat.generate", "codex.chat.generate")


@dataclass(frozen=True)
class Policy:
    """Which suggestions become jobs by themselves. smart: small ones; always: none; never (asked for approval): all."""

    mode: Mode = "smart"
    max_timeout_sec: int = 30
    max_attempts: int = 1
    max_priority: int = 5
    allow_types: tuple[str, ...] = ("report.generate", "memory.write")

    def reasons(self, fields: Mapping[str, Any]) -> list[str]:
        """Why a person must approve it; empty when none need."""
        if self.mode == "never":
            return []
        if self.mode == "always":
            return ["policy mode: always require approval"]
        found = []
        if fields["timeout_sec"] > self.max_timeout_sec:
            found.append(f"timeout {fields['timeout_sec']}s > {self.max_timeout_sec}s")
        if fields["max_attempts"] > self.max_attempts:
            found.append(f"attempts {fields['max_attempts']} > {self.max_attempts}")
        if fields["priority"] > self.max_priority:
            found.append(f"priority {fields['priority']} > {self.max_priority}")
        if self.allow_types and fields["type"] not in self.allow_types:
            found.append(f"type '{fields['type']}' not in auto allowlist")
        return found


@dataclass(frozen=True)
class Suggested:
    """A job that an answer suggests. position: from 0, in the answer; others depend on it by that."""

    position: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What an answer suggests, and how many of its items were left out."""

    suggestions: Sequence[Suggested] = ()
    dropped: int = 0


def find(answer: str, *, enabled: Collection[str], chat_type: str, asked: str) -> Found:
    """The suggestions of an answer. enabled: names of job types. chat_type: that of the answer. asked: the question."""
    items = _items(answer)
    wanted = [
        Suggested(position, fields)
        for position, item in enumerate(items[:MAX_SUGGESTIONS])
        if (fields := _fields(item, enabled, chat_type)) is not None and not _asks_again(fields, chat_type, asked)
    ]
    return Found(wanted, len(items) - len(wanted))


def without_suggestions(answer: str) -> str:
    """The answer as people read it: without its fence of jobs."""
    fence = _FENCE.search(answer)
    if fence is None:
        return answer
    end = answer.find("```", fence.end())
    return (answer[: fence.start()] + (answer[end + 3 :] if end >= 0 else "")).strip()


def _items(answer: str) -> list[Any]:
    """The `jobs` of the first JSON object that can be read, in the contract's order of places; none without one."""
    for document in _documents(answer):
        if isinstance(document, Mapping) and isinstance(document.get("jobs"), list):
            return list(document["jobs"])
    return []


def _documents(answer: str) -> Iterator[Any]:
    fence = _FENCE.search(answer)
    if fence is not None:
        body = answer[fence.end() :]
        if (end := body.find("```")) >= 0:
            yield _whole(body[:end])
        yield _at(body, body.find("{"))
    for key in _JOBS_KEY.finditer(answer):
        yield _at(answer, answer.rfind("{", 0, key.start()))


def _whole(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _at(text: str, start: int) -> Any:
    """The JSON value that begins there, whatever follows it; None for anything else."""
    if start < 0:
        return None
    try:
        return _decoder.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _fields(item: Any, enabled: Collection[str], chat_type: str) -> dict[str, Any] | None:
    """The job's fields, in bounds; None for an item without a type that there is."""
    named = item.get("type") if isinstance(item, Mapping) else None
    if not isinstance(named, str) or not named.strip():
        return None
    type_ = _known_type(_ALIASES.get(named.strip(), named.strip()), enabled, chat_type)
    if type_ is None:
        return None
    queue, tags = item.get("queue"), item.get("tags")
    given = dict(item["input"]) if isinstance(item.get("input"), Mapping) else {}
    if type_ in ("tools.file_search", "tools.web_search") and not given.get("query") and given.get("pattern"):
        given["query"] = given["pattern"]
    named_tags = [tag.strip() for tag in tags if isinstance(tag, str) and tag.strip()] if isinstance(tags, list) else []
    return {
        "type": type_,
        "queue": queue.strip() if isinstance(queue, str) and QUEUE.fullmatch(queue.strip()) else "default",
        "input": given,
        "priority": _clamped(item.get("priority"), 0, 10) or 5,
        "timeout_sec": _clamped(item.get("timeout_sec"), 1, 3600) or DEFAULT_TIMEOUT_SEC,
        "max_attempts": _clamped(item.get("max_attempts"), 1, 10) or 1,
        "tags": named_tags[:MAX_TAGS] or ["chat"],
    }


def _known_type(name: str, enabled: Collection[str], chat_type: str) -> str | None:
    if name in enabled:
        return name
    if not _CHAT_TYPE.fullmatch(name):
        return None
    if chat_type in enabled:
        return chat_type
    chats = [type_ for type_ in enabled if _CHAT_TYPE.fullmatch(type_)]
    return chats[0] if len(chats) == 1 else next((type_ for type_ in _FALLBACK_CHAT_TYPES if type_ in enabled), None)


def _clamped(value: Any, low: int, high: int) -> int | None:
    """A number within the bounds; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return int(min(max(value, low), high))


def _asks_again(fields: Mapping[str, Any], chat_type: str, asked: str) -> bool:
    """Whether the job would only ask the person's own question once more."""
    if fields["type"] != chat_type:
        return False
    given = fields["input"]
    messages = given.get("messages")
    last = next(
        (
            it.get("content") for it in reversed(messages if isinstance(messages, list) else [])
            if isinstance(it, Mapping) and it.get("role") == "user"
        ), None,
    )  # fmt: skip
    question, original = _plain(given.get("prompt") or last), _plain(asked)
    if not question or not original:
        return False
    if question == original:
        return True
    ours, theirs = ({word for word in text.split() if len(word) > 2} for text in (question, original))
    return bool(ours | theirs) and len(ours & theirs) / len(ours | theirs) >= ALIKE


def _plain(text: Any) -> str:
    return _NO_WORD.sub(" ", text.lower()).strip() if isinstance(text, str) else ""
