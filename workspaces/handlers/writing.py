"""`data.write_file`: a text file of the workspace, whole or in part (contract 6.6)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from django.db.models import F, JSONField, Value
from django.db.models.expressions import CombinedExpression
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from jobs.handlers.base import AttemptFailed, Handler, JobContext
from jobs.handlers.fields import Flag, ObjectInput, WholeNumber
from jobs.models import Job
from rauskuclaw import errors
from rauskuclaw.config import load
from workspaces.edits import TARGETED, Edit, Edited, WriteMode, apply
from workspaces.faults import ParentMissing
from workspaces.handlers.common import (
    FILES,
    MIB,
    RelativePath,
    candidates,
    failing_as_jobs_do,
    require_writing,
)
from workspaces.tree import Tree

JOB_TYPE = "data.write_file"
PREVIEW_CHARS = 300
RETRIED_MARK = "__auto_retry_mkdir_p_attempted"
"""In the stored input of a job that went on by making directories (contract 4.3)."""

Position = Annotated[WholeNumber, Field(ge=0, le=10 * MIB)]


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
        if self.mode in TARGETED and self.create_if_missing:
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
    sha256_before: str | None = Field(description="null where there was no file.")
    sha256_after: str
    preview_before: str = Field(description="The first 300 characters.")
    preview_after: str = Field(description="The first 300 characters.")


class WriteFile(Handler[WriteFileInput, WriteFileOutput]):
    """Writes a text file of the workspace, whole or in part."""

    id = "builtin:data.write_file"
    Input = WriteFileInput
    Output = WriteFileOutput
    needs = FILES

    def run(self, ctx: JobContext[WriteFileInput]) -> WriteFileOutput:
        """Raises AttemptFailed: HANDLER_DISABLED, INPUT_INVALID, POLICY_DENIED, WORKSPACE_…"""
        require_writing(JOB_TYPE)
        asked = ctx.input
        edit = Edit(
            mode=asked.mode,
            content=_content(asked),
            offset=asked.offset or 0,
            start=asked.start or 0,
            end=asked.end or 0,
            create_if_missing=asked.create_if_missing,
            mkdir_p=asked.mkdir_p,
            dry_run=asked.dry_run,
            expected_sha256=asked.expected_sha256,
        )
        ctx.log(
            "Writing workspace file", path=asked.path, mode=edit.mode, bytes=len(edit.content), dry_run=edit.dry_run
        )
        tree = Tree(ctx.workspace)
        with failing_as_jobs_do():
            path = candidates(tree, asked.path)[0]
            try:
                edited = apply(tree, path, edit)
            except ParentMissing:
                if edit.mkdir_p or not _note_retry(ctx):
                    raise
                edited = apply(tree, path, edit.with_directories())
                ctx.log("Job succeeded after auto-retry with mkdir_p=true")
        return _output(asked.mode, edited, dry_run=edit.dry_run)


def _content(asked: WriteFileInput) -> bytes:
    limit = asked.max_bytes or load().data_file_write_max_bytes
    try:
        data = (
            base64.b64decode("".join((asked.content_base64 or "").split()), validate=True)
            if asked.content is None
            else asked.content.encode()
        )
        data.decode()
    except (binascii.Error, UnicodeError):
        raise AttemptFailed(
            errors.INPUT_INVALID, f"{JOB_TYPE} cannot read input.content_base64: send UTF-8 text in base64"
        ) from None
    if len(data) > limit:
        raise AttemptFailed(
            errors.WORKSPACE_FILE_TOO_LARGE,
            f"{JOB_TYPE}: the content has {len(data):,} bytes; at most {limit:,} are allowed",
            {"size": len(data), "max_bytes": limit},
        )
    return data


def _note_retry(ctx: JobContext[WriteFileInput]) -> bool:
    """Say that directories are made now, in the log and in the stored input; False for a job that must not (4.3)."""
    changes = Value({"mkdir_p": True, RETRIED_MARK: True}, JSONField())
    noted = (
        Job.objects.filter(pk=ctx.job_id, type=JOB_TYPE)
        .exclude(input__has_key=RETRIED_MARK)
        .update(input=CombinedExpression(F("input"), "||", changes, JSONField()))
    )
    if noted:
        ctx.log("Auto-retrying data.write_file with mkdir_p=true after missing parent directory error", "warn")
    return bool(noted)


def _output(mode: WriteMode, edited: Edited, *, dry_run: bool) -> WriteFileOutput:
    return WriteFileOutput(
        path=str(edited.path),
        mode=mode,
        dry_run=dry_run,
        changed=edited.before != edited.after,
        created=edited.before is None,
        bytes_before=len(edited.before or b""),
        bytes_after=len(edited.after),
        sha256_before=edited.sha256_before,
        sha256_after=edited.sha256_after,
        preview_before=(edited.before or b"").decode("utf-8", "replace")[:PREVIEW_CHARS],
        preview_after=edited.after.decode("utf-8", "replace")[:PREVIEW_CHARS],
    )
