"""What a chat wants done, as a model or a person wrote it down: made into jobs as far as it goes (contract 2.4).

Items are lenient where `POST /v1/jobs` is strict: fields of the wrong type are their defaults, well-known slips are
repaired, and what cannot become a job is skipped with its reason. Items may depend on those before them by number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from access.principals import Principal
from jobs import bodies, submission
from jobs.models import Job
from jobs.requests import parse_new_job
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import JOB_TYPE

MAX_ITEMS = 40
MAX_QUERY_CHARS = 120
DEFAULT_TIMEOUT_SEC = 120
DOC_READER = "data.file_read"

_DOCUMENTED = re.compile(r"(?:tool|tools|data)\.")
_TOOL_DOC = re.compile(r"(?:\./)?tools/[^/]+/TOOL\.md")
_FILE_NAME = re.compile(r"[\w./-]*\w\.[A-Za-z]\w{0,7}\b")
_WORD = re.compile(r"\w{3,80}")


@dataclass(frozen=True)
class Repair:
    """What was changed in an item. idx: its place in the request, from 0."""

    idx: int
    kind: str
    value: Any


@dataclass(frozen=True)
class Skipped:
    """An item that became no job."""

    idx: int
    type: str
    problem: Problem


@dataclass(frozen=True)
class Created:
    """A job: of an item, or (tool_type) one that reads the manual of an item's tool first."""

    idx: int
    job: Job
    tool_type: str | None = None


@dataclass
class Outcome:
    """What became of a request."""

    created: list[Created] = field(default_factory=list)
    normalized: list[dict[str, Any]] = field(default_factory=list)
    """`idx` and the fields that each item came to, before its dependencies were named by id."""
    repairs: list[Repair] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def submit_intents(body: object, *, created_by: str, principal: Principal) -> Outcome:
    """Create the jobs of `{"jobs": [...], "user_text"?, "options"?: {"inject_tool_docs"?, "repair"?}}`, item by item.

    Raises VALIDATION_ERROR unless there are 1 to MAX_ITEMS items; what is wrong with one is in `skipped`.
    """
    wanted = body if isinstance(body, Mapping) else {}
    items = wanted.get("jobs")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise bodies.invalid("jobs", f"jobs must be an array of 1 to {MAX_ITEMS} jobs")
    options = wanted.get("options")
    options = options if isinstance(options, Mapping) else {}
    user_text = wanted.get("user_text")
    return submit_items(
        dict(enumerate(items)),
        user_text=user_text if isinstance(user_text, str) else "",
        repairs=options.get("repair") is not False,
        adds_docs=options.get("inject_tool_docs") is not False,
        created_by=created_by,
        principal=principal,
    )


def submit_items(
    items: Mapping[int, Any],
    *,
    made: Mapping[int, Job] | None = None,
    user_text: str,
    repairs: bool = True,
    adds_docs: bool = True,
    created_by: str,
    principal: Principal,
) -> Outcome:
    """Create the jobs of items, by their places. made: jobs of other items of the same request, which they may need."""
    run = _Run(user_text, repairs, adds_docs and load().data_file_read_enabled, created_by, principal, dict(made or {}))
    for idx, item in items.items():
        run.take(idx, item)
    return run.outcome


def positions_needed(given: Mapping[str, Any], idx: int) -> list[int]:
    """The places of the items whose jobs the item at `idx` needs, by the helper keys of its input."""
    last = [idx - 1] if _wants_last(given.get("depends_on_last_job")) and idx > 0 else []
    return [*last, *(number - 1 for number in _numbers(given.get("depends_on_idx")) if isinstance(number, int))]


def writes_whole_file(type_: str, given: Mapping[str, Any]) -> bool:
    """Whether a job writes a file as a whole, or at an end of it: in these modes it may as well make it."""
    return type_ == "data.write_file" and given.get("mode", "replace") in ("replace", "append", "prepend")


def _wants_last(value: Any) -> bool:
    return value is True or value in ("true", 1)


def _numbers(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


@dataclass
class _Run:
    user_text: str
    repairs: bool
    adds_docs: bool
    created_by: str
    principal: Principal
    jobs: dict[int, Job]
    """Of the items that became one, by idx."""
    outcome: Outcome = field(default_factory=Outcome)
    documented: set[str] = field(default_factory=set)

    def take(self, idx: int, item: Any) -> None:
        """Make the item's job, or note why not."""
        fields = _normalized(item)
        if self.repairs:
            self._repair(idx, fields)
        self.outcome.normalized.append({"idx": idx, **fields})
        try:
            fields = {**fields, "input": self._with_dependencies(idx, fields["input"])}
            self._check(fields)
            if (doc := self._tool_doc(idx, fields)) is not None:
                fields["input"] = _depending(fields["input"], [doc])
            self.jobs[idx] = self._create(idx, fields)
        except Problem as problem:
            self.outcome.skipped.append(Skipped(idx, fields["type"], problem))

    def _repair(self, idx: int, fields: Mapping[str, Any]) -> None:
        given = fields["input"]
        if fields["type"] == "tools.file_search":
            query = next((given[name] for name in ("query", "pattern") if given.get(name)), None)
            if not isinstance(query, str) or len(query) > MAX_QUERY_CHARS or "\n" in query.strip():
                self._set(idx, given, "query", _guessed_query(self.user_text), "file_search_query")
        elif writes_whole_file(fields["type"], given):
            self._set(idx, given, "create_if_missing", True, "write_create_if_missing")
            self._set(idx, given, "mkdir_p", True, "write_mkdir_p")

    def _set(self, idx: int, given: dict[str, Any], name: str, value: Any, kind: str) -> None:
        if given.get(name) != value:
            given[name] = value
            self.outcome.repairs.append(Repair(idx, kind, value))

    def _last_made(self, idx: int) -> Job | None:
        """The job made last in this request; else that of the nearest item before."""
        if self.outcome.created:
            return self.outcome.created[-1].job
        before = [n for n in self.jobs if n < idx]
        return self.jobs[max(before)] if before else None

    def _with_dependencies(self, idx: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """The input with the jobs that it means named by id. Raises Problem where one of them was not made."""
        given = dict(given)
        last, numbers = given.pop("depends_on_last_job", None), given.pop("depends_on_idx", None)
        needed = [last_made] if _wants_last(last) and (last_made := self._last_made(idx)) is not None else []
        for number in _numbers(numbers):
            job = self.jobs.get(number - 1) if isinstance(number, int) and not isinstance(number, bool) else None
            if job is None:
                raise Problem(
                    errors.DEPENDENCY_BLOCKED, f"it depends on item {number!r}, which has not become a job before it"
                )
            needed.append(job)
        return _depending(given, needed) if needed else given

    def _check(self, fields: Mapping[str, Any]) -> None:
        """Raise what creating it will: no manual is to be read for what cannot be done."""
        new = parse_new_job(fields)
        submission.checked(new, submission.types_of([new.type]), self.principal)

    def _tool_doc(self, idx: int, fields: Mapping[str, Any]) -> Job | None:
        """A job that reads the tool's manual, for the first item of its type. None where there is none to read.

        A manual is help and no condition: whatever is wrong with it, the item goes on without.
        """
        tool = fields["type"]
        reads_one = _TOOL_DOC.fullmatch(str(fields["input"].get("path", "")))
        if not self.adds_docs or tool in self.documented or not _DOCUMENTED.match(tool) or reads_one:
            return None
        self.documented.add(tool)
        # The name of an existing type has no separators in it, so this stays in `tools/`.
        if not JOB_TYPE.fullmatch(tool) or not (load().workspace_root / "tools" / tool / "TOOL.md").is_file():
            return None
        doc = {
            "type": DOC_READER, "queue": fields["queue"], "input": {"path": f"tools/{tool}/TOOL.md"}, "priority": 5,
            "timeout_sec": 30, "max_attempts": 1, "tags": ["chat", "tool-doc"],
        }  # fmt: skip
        try:
            return self._create(idx, doc, tool_type=tool)
        except Problem:
            return None

    def _create(self, idx: int, fields: Mapping[str, Any], *, tool_type: str | None = None) -> Job:
        new = parse_new_job(fields)
        job = submission.submit(new, created_by=self.created_by, principal=self.principal).job
        self.outcome.created.append(Created(idx, job, tool_type))
        return job


def _normalized(item: Any) -> dict[str, Any]:
    given = item if isinstance(item, Mapping) else {}
    type_, queue, tags = given.get("type"), given.get("queue"), given.get("tags")
    named = [tag.strip() for tag in tags if isinstance(tag, str) and tag.strip()] if isinstance(tags, list) else []
    return {
        "type": type_.strip() if isinstance(type_, str) else "",
        "queue": queue.strip() if isinstance(queue, str) and queue.strip() else "default",
        "input": dict(given["input"]) if isinstance(given.get("input"), Mapping) else {},
        "priority": _integer(given.get("priority"), 5),
        "timeout_sec": _integer(given.get("timeout_sec"), DEFAULT_TIMEOUT_SEC),
        "max_attempts": _integer(given.get("max_attempts"), 1),
        "tags": named or ["chat"],
    }


def _integer(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _depending(given: Mapping[str, Any], jobs: list[Job]) -> dict[str, Any]:
    named = given.get("depends_on")
    ids = [*(named if isinstance(named, list) else []), *(str(job.id) for job in jobs)]
    return {**given, "depends_on": list(dict.fromkeys(ids))}


def _guessed_query(user_text: str) -> str:
    """What somebody who wrote this looks for: the first file's name, the README, the first word."""
    if found := _FILE_NAME.search(user_text):
        return found[0][:MAX_QUERY_CHARS]
    for name in ("README.md", "README"):
        if name.lower() in user_text.lower():
            return name
    found = _WORD.search(user_text)
    return found[0] if found else "README"
