"""`data.file_read`: the text of a file (contract 6.5)."""

from __future__ import annotations

import codecs
import os

from pydantic import BaseModel, ConfigDict, Field

from jobs.handlers.base import Handler, JobContext
from jobs.handlers.fields import ObjectInput, WholeNumber
from rauskuclaw import errors
from rauskuclaw.config import load
from workspaces.handlers.common import (
    FILES,
    MIB,
    RelativePath,
    failing_as_jobs_do,
    first_existing,
    require_reading,
)
from workspaces.tree import Tree, failing


class FileReadInput(ObjectInput):
    """Which file."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "notes/today.md", "max_bytes": 4096}]})
    aliases = {"path": ("file_path",)}
    required = ("data.file_read", "path")

    path: RelativePath = Field(description="File in the workspace (alias `file_path`).")
    max_bytes: WholeNumber | None = Field(None, ge=512, le=MIB, description="Bytes to read at most.")


class FileReadOutput(BaseModel):
    """The file's text, as far as it was read."""

    ok: bool = True
    path: str
    truncated: bool
    bytes_read: int
    total_bytes: int
    content_text: str = Field(description="As UTF-8; what is none is U+FFFD.")


class FileRead(Handler[FileReadInput, FileReadOutput]):
    """Reads a text file of the workspace."""

    id = "builtin:data.file_read"
    Input = FileReadInput
    Output = FileReadOutput
    needs = FILES

    def run(self, ctx: JobContext[FileReadInput]) -> FileReadOutput:
        """Raises AttemptFailed: HANDLER_DISABLED, POLICY_DENIED, WORKSPACE_…"""
        require_reading("data.file_read")
        max_bytes = ctx.input.max_bytes or load().data_file_read_max_bytes
        ctx.log("Reading workspace file", path=ctx.input.path, max_bytes=max_bytes)
        tree = Tree(ctx.workspace)
        with failing_as_jobs_do():
            path = first_existing(tree, ctx.input.path)
            with tree.open(path) as file, failing(errors.WORKSPACE_READ_FAILED, path):
                data = file.read(max_bytes)
                total_bytes = max(len(data), os.fstat(file.fileno()).st_size)
        truncated = total_bytes > len(data)
        # A character that the limit cut in two is left out, and not shown as a fault of the file.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=not truncated)
        return FileReadOutput(
            path=str(path),
            truncated=truncated,
            bytes_read=len(data),
            total_bytes=total_bytes,
            content_text=text,
        )
