"""The four file handlers: their inputs (contract 2.3 and 6.5–6.8). Their work comes with the file manager."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from jobs.handlers.base import Needs, UnavailableHandler
from jobs.handlers.fields import Flag, ObjectInput, WholeNumber

MIB = 1_048_576
FILES = Needs(files=True)
TARGETED_MODES = frozenset({"insert_at", "replace_range"})

RelativePath = Annotated[str, StringConstraints(max_length=2000)]
WriteMode = Literal["replace", "append", "prepend", "insert_at", "replace_range"]
Position = Annotated[WholeNumber, Field(ge=0, le=10 * MIB)]


class FileReadInput(ObjectInput):
    """Which file."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "notes/today.md", "max_bytes": 4096}]})
    aliases = {"path": ("file_path",)}
    required = ("data.file_read", "path")

    path: RelativePath = Field(description="File in the workspace (alias `file_path`).")
    max_bytes: WholeNumber | None = Field(None, ge=512, le=MIB, description="Bytes to read at most.")


class FileReadOutput(BaseModel):
    """The file's text."""

    ok: bool = True
    path: str
    truncated: bool
    bytes_read: int
    total_bytes: int
    content_text: str


class FileRead(UnavailableHandler[FileReadInput, FileReadOutput]):
    """Reads a text file of the workspace."""

    id = "builtin:data.file_read"
    Input = FileReadInput
    Output = FileReadOutput
    needs = FILES


class WriteFileInput(ObjectInput):
    """What to write where."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"path": "notes/today.md", "content": "# Today\n", "create_if_missing": True, "mkdir_p": True},
                {"path": "notes/today.md", "mode": "replace_range", "start": 2, "end": 7, "content": "Tomorrow"},
            ]
        }
    )
    aliases = {"path": ("file_path",)}
    required = ("data.write_file", "path")

    path: RelativePath = Field(description="File in the workspace (alias `file_path`).")
    mode: WriteMode = Field("replace", description="What happens to the text that is there.")
    content: str | None = Field(None, max_length=10 * MIB, description="Text to write; or `content_base64`.")
    content_base64: str | None = Field(
        None, max_length=14 * MIB, pattern=r"^[A-Za-z0-9+/\s]*={0,2}\s*$", description="UTF-8 text in base64."
    )
    offset: Position | None = Field(None, description="Where `insert_at` inserts, in UTF-16 code units.")
    start: Position | None = Field(None, description="First replaced position of `replace_range`.")
    end: Position | None = Field(None, description="Position after the last replaced one of `replace_range`.")
    create_if_missing: Flag = Field(False, description="Whether the file may be new.")
    mkdir_p: Flag = Field(False, description="Whether missing directories are made.")
    dry_run: Flag = Field(False, description="Whether only to tell what would change.")
    expected_sha256: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{64}$", description="SHA-256 the present text must have."
    )
    max_bytes: WholeNumber | None = Field(None, ge=512, le=10 * MIB, description="Bytes to write at most.")

    @model_validator(mode="after")
    def _fits_together(self) -> WriteFileInput:
        for problem in self._problems():
            raise PydanticCustomError("data_write_file", "data.write_file {problem}", {"problem": problem})
        return self

    def _problems(self) -> list[str]:
        problems = []
        if (self.content is None) == (self.content_base64 is None):
            problems.append("requires exactly one of input.content and input.content_base64")
        if self.mode == "insert_at" and self.offset is None:
            problems.append("requires input.offset for mode insert_at")
        if self.mode == "replace_range" and (self.start is None or self.end is None or self.end < self.start):
            problems.append("requires input.start and input.end, with end ≥ start, for mode replace_range")
        if self.mode in TARGETED_MODES and self.create_if_missing:
            problems.append(f"cannot use input.create_if_missing with mode {self.mode}")
        return problems


class WriteFileOutput(BaseModel):
    """What changed."""

    ok: bool = True
    path: str
    mode: WriteMode
    dry_run: bool
    changed: bool
    created: bool
    bytes_before: int
    bytes_after: int
    sha256_before: str | None
    sha256_after: str
    preview_before: str = Field(description="The first 300 characters.")
    preview_after: str = Field(description="The first 300 characters.")


class WriteFile(UnavailableHandler[WriteFileInput, WriteFileOutput]):
    """Writes a text file of the workspace, whole or in part."""

    id = "builtin:data.write_file"
    Input = WriteFileInput
    Output = WriteFileOutput
    needs = FILES


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


class FileSearchOutput(BaseModel):
    """Files and directories whose name or path matches."""

    ok: bool = True
    query: str
    query_variants: list[str]
    used_variant_fallback: bool
    base_path: str
    cursor_offset: int
    next_cursor_offset: int | None
    has_more: bool
    scanned: int
    visited_total: int
    truncated: bool
    result_count: int
    matches: list[dict[str, Any]]


class FileSearch(UnavailableHandler[FileSearchInput, FileSearchOutput]):
    """Finds files and directories of the workspace by name."""

    id = "builtin:tools.file_search"
    Input = FileSearchInput
    Output = FileSearchOutput
    needs = FILES


class FindInFilesInput(ObjectInput):
    """Which text, and where to look."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "deadline", "path": "notes", "max_results": 20}]}
    )
    aliases = {"query": ("q", "pattern"), "path": ("base_path",)}
    required = ("tools.find_in_files", "query")

    query: str = Field(max_length=500, description="Text or regular expression (aliases `q`, `pattern`).")
    files: list[RelativePath] = Field([], max_length=500, description="Files to search; instead of `path`.")
    path: RelativePath = Field(".", description="Directory to search (alias `base_path`).")
    regex: Flag = Field(False, description="Whether `query` is a regular expression.")
    case_sensitive: Flag = Field(False, description="Whether case matters.")
    include_hidden: Flag = Field(False, description="Whether names with a leading dot count.")
    max_results: WholeNumber = Field(100, ge=1, le=500, description="Matches to return.")
    max_bytes_per_file: WholeNumber = Field(262_144, ge=512, le=2 * MIB, description="Larger files are skipped.")
    max_scanned: WholeNumber = Field(5000, ge=100, le=50_000, description="Files to look at, at most.")


class FindInFilesOutput(BaseModel):
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
    truncated: bool
    skipped_binary_files: int
    skipped_too_large_files: int
    matches: list[dict[str, Any]]


class FindInFiles(UnavailableHandler[FindInFilesInput, FindInFilesOutput]):
    """Finds text in files of the workspace."""

    id = "builtin:tools.find_in_files"
    Input = FindInFilesInput
    Output = FindInFilesOutput
    needs = FILES


HANDLERS = (FileRead, WriteFile, FileSearch, FindInFiles)
