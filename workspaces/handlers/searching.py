"""`tools.file_search` and `tools.find_in_files`: files by name, and by what is in them (contract 6.7 and 6.8)."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from jobs.handlers.base import Handler, JobContext
from jobs.handlers.fields import Flag, ObjectInput, WholeNumber
from workspaces.handlers.common import (
    FILES,
    MIB,
    RelativePath,
    failing_as_jobs_do,
    first_existing,
    require_reading,
)
from workspaces.search import NamesFound, TextFound, find_names, find_text
from workspaces.tree import Tree


class FileSearchInput(ObjectInput):
    """Which name, and where to look."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "readme", "path": "docs", "max_results": 10}]})
    aliases = {"query": ("q", "name"), "path": ("base_path",)}
    required = ("tools.file_search", "query")

    query: str = Field(max_length=240, description="Part of a file's name or path (aliases `q`, `name`).")
    path: RelativePath = Field(".", description="Directory to search (alias `base_path`).")
    include_hidden: Flag = Field(False, description="Whether names with a leading dot count.")
    max_results: WholeNumber = Field(30, ge=1, le=200, description="Matches to return.")
    cursor_offset: WholeNumber = Field(0, ge=0, le=10_000_000, description="Where to go on: `next_cursor_offset`.")
    max_scanned: WholeNumber = Field(5000, ge=100, le=50_000, description="Entries to look at, at most.")


class FileSearch(Handler[FileSearchInput, NamesFound]):
    """Finds files and directories of the workspace by name."""

    id = "builtin:tools.file_search"
    Input = FileSearchInput
    Output = NamesFound
    needs = FILES

    def run(self, ctx: JobContext[FileSearchInput]) -> NamesFound:
        """Raises AttemptFailed: HANDLER_DISABLED, POLICY_DENIED, WORKSPACE_…"""
        require_reading("tools.file_search")
        asked = ctx.input
        ctx.log("Searching files in workspace", query=asked.query, path=asked.path, max_results=asked.max_results)
        tree = Tree(ctx.workspace)
        with failing_as_jobs_do():
            return find_names(
                tree,
                first_existing(tree, asked.path),
                asked.query,
                include_hidden=asked.include_hidden,
                max_results=asked.max_results,
                cursor_offset=asked.cursor_offset,
                max_scanned=asked.max_scanned,
            )


class FindInFilesInput(ObjectInput):
    """Which text, and where to look."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "deadline", "path": "notes", "max_results": 20}]}
    )
    aliases = {"query": ("q", "pattern"), "path": ("base_path",)}
    required = ("tools.find_in_files", "query")

    query: str = Field(max_length=500, description="Text, or a regular expression of RE2 (aliases `q`, `pattern`).")
    files: list[RelativePath] = Field([], max_length=500, description="Files to search; instead of `path`.")
    path: RelativePath = Field(".", description="Directory to search (alias `base_path`).")
    regex: Flag = Field(False, description="Whether `query` is a regular expression.")
    case_sensitive: Flag = Field(False, description="Whether case matters.")
    include_hidden: Flag = Field(False, description="Whether names with a leading dot count.")
    max_results: WholeNumber = Field(100, ge=1, le=500, description="Matches to return.")
    max_bytes_per_file: WholeNumber = Field(262_144, ge=512, le=2 * MIB, description="Larger files are skipped.")
    max_scanned: WholeNumber = Field(5000, ge=100, le=50_000, description="Files to look at, at most.")


class FindInFiles(Handler[FindInFilesInput, TextFound]):
    """Finds text in files of the workspace."""

    id = "builtin:tools.find_in_files"
    Input = FindInFilesInput
    Output = TextFound
    needs = FILES

    def run(self, ctx: JobContext[FindInFilesInput]) -> TextFound:
        """Raises AttemptFailed: HANDLER_DISABLED, INPUT_INVALID, POLICY_DENIED, WORKSPACE_…"""
        require_reading("tools.find_in_files")
        asked = ctx.input
        ctx.log(
            "Searching text inside workspace files",
            query=asked.query,
            path=None if asked.files else asked.path,
            files=len(asked.files),
            regex=asked.regex,
            max_results=asked.max_results,
        )
        tree = Tree(ctx.workspace)
        with failing_as_jobs_do():
            return find_text(
                tree,
                first_existing(tree, asked.path),
                asked.query,
                files=[first_existing(tree, text, "files") for text in asked.files] or None,
                regex=asked.regex,
                case_sensitive=asked.case_sensitive,
                include_hidden=asked.include_hidden,
                max_results=asked.max_results,
                max_bytes_per_file=asked.max_bytes_per_file,
                max_scanned=asked.max_scanned,
            )
