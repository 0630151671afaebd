"""What can go wrong with a file: an answer of the API, and the failure of an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rauskuclaw import errors
from rauskuclaw.errors import Code, Problem


class WorkspaceFault(Problem):
    """Any of them. `job_code`: what a job fails with."""

    answer_code: ClassVar[Code]
    job_code: ClassVar[Code]

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(self.answer_code, message, details)


class _BadField(WorkspaceFault):
    answer_code = errors.VALIDATION_ERROR
    job_code = errors.WORKSPACE_PATH_INVALID

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}.", {"errors": [{"path": field, "message": f"{message}."}]})


class Refused(_BadField):
    """The path leads out of the workspace, or would if somebody had their way: links, devices, `..` and the like."""

    job_code = errors.POLICY_DENIED


class WrongKind(_BadField):
    """A directory where a file must be, or the other way round."""


class BadPattern(_BadField):
    """The regular expression cannot be understood."""

    job_code = errors.INPUT_INVALID


class BadPosition(_BadField):
    """A place in a text that is none."""

    job_code = errors.INPUT_INVALID


class ParentMissing(_BadField):
    """The directory for a new file does not exist."""

    def __init__(self, field: str, parent: object) -> None:
        super().__init__(field, f"cannot be made: the parent directory does not exist ({parent})")


class Missing(WorkspaceFault):
    """Nothing is there."""

    answer_code = errors.NOT_FOUND
    job_code = errors.WORKSPACE_FILE_MISSING

    def __init__(self, path: object) -> None:
        super().__init__(f"file not found: {path}")


class Exists(WorkspaceFault):
    """Something is there already."""

    answer_code = errors.CONFLICT
    job_code = errors.WORKSPACE_PATH_INVALID

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} exists: send overwrite true to replace it.")


class Changed(WorkspaceFault):
    """The file is not the version that the caller knows."""

    answer_code = errors.CONFLICT
    job_code = errors.WORKSPACE_FILE_CHANGED


class TooLarge(WorkspaceFault):
    """The file is over its limit."""

    answer_code = errors.WORKSPACE_FILE_TOO_LARGE
    job_code = errors.WORKSPACE_FILE_TOO_LARGE

    def __init__(self, what: str, *, size: int, max_bytes: int) -> None:
        details = {"size": size, "max_bytes": max_bytes}
        super().__init__(f"{what} has {size:,} bytes; at most {max_bytes:,} are allowed.", details)


class Binary(WorkspaceFault):
    """The file is not text."""

    answer_code = errors.WORKSPACE_FILE_BINARY
    job_code = errors.WORKSPACE_FILE_BINARY

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} is not text: download it, or read it with encoding=base64.")


class Busy(WorkspaceFault):
    """Somebody else holds the directory."""

    answer_code = errors.WORKSPACE_BUSY
    job_code = errors.WORKSPACE_BUSY


class Failed(WorkspaceFault):
    """The file system refused: permissions, a full disk, a fault."""

    def __init__(self, code: Code, what: str, error: OSError) -> None:
        self.answer_code = self.job_code = code  # type: ignore[misc]  # of this one fault
        super().__init__(f"{what}: {error.strerror or type(error).__name__}.", {"errno": error.errno})
