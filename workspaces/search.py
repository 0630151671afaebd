"""Finding files by name and by content (contract 6.7 and 6.8)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import re2
from pydantic import BaseModel, Field

from rauskuclaw import errors
from workspaces.faults import BadPattern, WorkspaceFault
from workspaces.paths import WorkspacePath
from workspaces.tree import Entry, Tree, failing
from workspaces.walk import Clock, start, walk

SHOWN_LINE_CHARS = 500
LOOKED_AT_BYTES = 4096
"""Where a NUL tells that a file is binary (contract 6.8)."""
LINES_BETWEEN_LOOKS = 2000
"""At the clock."""
_ABOUT_THE_TEXT = re.compile(r"\\[AzQ]|\(\?[a-zA-Z]*-")
"""What means the beginning or the end of a text and not of a line, or makes `^` and `$` do so; and quoting."""
_ADDED_ENDINGS = (".md", ".txt", ".json")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[\s_-]+")


class NamesFound(BaseModel):
    """Files and directories whose name or path matches."""

    ok: bool = True
    query: str
    query_variants: list[str] = Field(description="What else was looked for where nothing has the query itself.")
    used_variant_fallback: bool = Field(description="Whether nothing has the query itself, and variants were found.")
    base_path: str
    cursor_offset: int
    next_cursor_offset: int | None = Field(description="Send it as `cursor_offset` to go on; null: that was all.")
    has_more: bool
    scanned: int = Field(description="Entries looked at.")
    visited_total: int = Field(description="The same, with those that `cursor_offset` skipped.")
    truncated: bool = Field(description="Whether a limit or the time ended it, and not the number of matches.")
    result_count: int
    matches: list[dict[str, Any]] = Field(description="`path`, `is_dir`, `size` in bytes or null.")


class TextFound(BaseModel):
    """The first match of each line."""

    ok: bool = True
    query: str
    regex: bool
    case_sensitive: bool
    base_path: str | None
    requested_files_count: int | None
    scanned_files: int
    result_count: int
    has_more: bool
    truncated: bool = Field(description="Whether a limit or the time ended it, and not the number of matches.")
    skipped_binary_files: int
    skipped_too_large_files: int
    skipped_missing_files: int = Field(description="Of `files`: those that do not exist or cannot be opened.")
    matches: list[dict[str, Any]] = Field(description="`path`, `line` and `column` from 1, `text`: the line.")


def find_names(
    tree: Tree,
    base: WorkspacePath,
    query: str,
    *,
    include_hidden: bool = False,
    max_results: int,
    cursor_offset: int = 0,
    max_scanned: int,
    clock: Clock | None = None,
) -> NamesFound:
    """Files and directories beneath `base` that have `query` in their name or path, in any case.

    Where none does, those that have a variant of it: another spelling of the words, another ending, no accents.
    """
    start(tree, base)
    clock, alike = clock or Clock(), _Alike(query)
    wanted = query.casefold()
    exact: list[tuple[int, Entry]] = []
    similar: list[tuple[int, Entry]] = []
    visited, most, more, truncated = 0, cursor_offset + max_scanned, False, False
    for entry in walk(tree, base, include_hidden=include_hidden, most=most + 1):
        if len(exact) == max_results:
            more = True
            break
        if visited == most or clock.is_over:
            more = truncated = True
            break
        visited += 1
        if visited <= cursor_offset:
            continue
        if wanted in str(entry.path).casefold():
            exact.append((visited, entry))
        elif not exact and len(similar) <= max_results and alike(str(entry.path)):
            similar.append((visited, entry))
    found = exact or similar[:max_results]
    if not exact and len(similar) > max_results:
        more, truncated = True, False
    stopped_at = visited if truncated else found[-1][0] if more else None
    return NamesFound(
        query=query,
        query_variants=alike.variants,
        used_variant_fallback=not exact and bool(found),
        base_path=str(base),
        cursor_offset=cursor_offset,
        next_cursor_offset=stopped_at,
        has_more=more,
        scanned=max(0, visited - cursor_offset),
        visited_total=visited,
        truncated=truncated,
        result_count=len(found),
        matches=[{"path": str(entry.path), "is_dir": entry.kind == "dir", "size": entry.size} for _, entry in found],
    )


class _Alike:
    """Whether a path holds a query in another spelling."""

    def __init__(self, query: str) -> None:
        words = _SEPARATORS.sub(" ", _CAMEL.sub(" ", query)).strip()
        stem = query.rpartition(".")[0] or query
        spellings = [words, words.replace(" ", "_"), words.replace(" ", "-"), words.replace(" ", ""), stem]
        spellings += [query + ending for ending in _ADDED_ENDINGS if "." not in query]
        spellings += [_plain(spelling) for spelling in (query, words, stem)]
        self.variants = [it for it in dict.fromkeys(spellings) if it and it.casefold() != query.casefold()]
        self._wanted = {_plain(it) for it in self.variants}
        self._compact = _compact(_plain(query))

    def __call__(self, path: str) -> bool:
        plain = _plain(path)
        return any(wanted in plain for wanted in self._wanted) or (
            len(self._compact) > 1 and self._compact in _compact(plain)
        )


def _plain(text: str) -> str:
    """Without case and accents."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    return "".join(it for it in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(it))


def _compact(plain: str) -> str:
    """Letters and digits alone."""
    return "".join(filter(str.isalnum, plain))


def find_text(
    tree: Tree,
    base: WorkspacePath,
    query: str,
    *,
    files: Sequence[WorkspacePath] | None = None,
    regex: bool = False,
    case_sensitive: bool = False,
    include_hidden: bool = False,
    max_results: int,
    max_bytes_per_file: int,
    max_scanned: int,
    clock: Clock | None = None,
) -> TextFound:
    """Lines that hold `query`, in `files` or in what is at and beneath `base`. Raises BadPattern, Missing.

    regex: in RE2's syntax, which has no look-around and no back-references, and takes time linear in the text.
    """
    pattern, clock = _pattern(query, regex=regex, case_sensitive=case_sensitive), clock or Clock()
    # Looking at a whole file at once is several times faster than at each line, and most files hold nothing.
    anywhere = _anywhere(query, case_sensitive=case_sensitive) if regex else pattern
    missing: list[WorkspacePath] = []
    cut: list[Entry] = []
    given = (
        _given(tree, files, missing) if files is not None else _beneath(tree, base, include_hidden, max_scanned, cut)
    )
    scanned = binary = large = 0
    matches: list[dict[str, Any]] = []
    more = truncated = False
    for entry in given:
        if scanned == max_scanned or clock.is_over:
            more = truncated = True
            break
        scanned += 1
        if (entry.size or 0) > max_bytes_per_file:
            large += 1
            continue
        text = _text(tree, entry.path, max_bytes_per_file)
        if text is None:
            binary += 1
            continue
        if anywhere is not None and anywhere.search(text) is None:
            continue
        for found in _lines(pattern, text, str(entry.path), clock):
            if len(matches) == max_results:
                more = True
                break
            matches.append(found)
        if more:
            break
    truncated = truncated or bool(cut) or clock.is_over
    return TextFound(
        query=query,
        regex=regex,
        case_sensitive=case_sensitive,
        base_path=None if files is not None else str(base),
        requested_files_count=None if files is None else len(files),
        scanned_files=scanned,
        result_count=len(matches),
        has_more=more or truncated,
        truncated=truncated,
        skipped_binary_files=binary,
        skipped_too_large_files=large,
        skipped_missing_files=len(missing),
        matches=matches,
    )


def _pattern(query: str, *, regex: bool, case_sensitive: bool) -> Any:
    options = re2.Options()
    options.case_sensitive = case_sensitive
    options.log_errors = False
    try:
        return re2.compile(query if regex else re2.escape(query), options)
    except re2.error as error:
        reason = error.args[0]
        told = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern("query", f"is not a regular expression of RE2: {told}") from None


def _anywhere(query: str, *, case_sensitive: bool) -> Any | None:
    """A pattern that finds something in a text if `query` does in one of its lines; None where that is not certain."""
    return (
        None if _ABOUT_THE_TEXT.search(query) else _pattern(f"(?m:{query})", regex=True, case_sensitive=case_sensitive)
    )


def _given(tree: Tree, files: Iterable[WorkspacePath], missing: list[WorkspacePath]) -> Iterator[Entry]:
    """The plain files among those that were asked for; what is no such file goes to `missing`."""
    for path in files:
        try:
            entry = tree.look(path)
        except WorkspaceFault:
            missing.append(path)
            continue
        if entry.kind == "file":
            yield entry
        else:
            missing.append(path)


def _beneath(
    tree: Tree, base: WorkspacePath, include_hidden: bool, max_scanned: int, cut: list[Entry]
) -> Iterator[Entry]:
    """The plain files at and beneath `base`; the first entry that is one too many to look at goes to `cut`."""
    first = start(tree, base)
    if first.kind == "file":
        yield first
        return
    # Directories are no files and cost as much to look at, so the walk has an end, too.
    most = 4 * max_scanned
    for number, entry in enumerate(walk(tree, base, include_hidden=include_hidden, most=most + 1)):
        if number == most:
            cut.append(entry)
        elif entry.kind == "file":
            yield entry


def _text(tree: Tree, path: WorkspacePath, max_bytes: int) -> str | None:
    """A file's text; None for a binary one, and one that cannot be read any more."""
    try:
        with tree.open(path) as file, failing(errors.WORKSPACE_READ_FAILED, path):
            data = file.read(max_bytes)
    except WorkspaceFault:
        return None
    return None if b"\0" in data[:LOOKED_AT_BYTES] else data.decode("utf-8", "replace").replace("\r\n", "\n")


def _lines(pattern: Any, text: str, path: str, clock: Clock) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if number % LINES_BETWEEN_LOOKS == 0 and clock.is_over:
            return
        if (match := pattern.search(line)) is not None:
            yield {"path": path, "line": number, "column": match.start() + 1, "text": line[:SHOWN_LINE_CHARS]}
