"""What is sent about approvals."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from jobs import bodies
from jobs.approvals.models import ApprovalState

Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class Approve(BaseModel):
    """Yes, to exactly what has this hash."""

    model_config = ConfigDict(strict=True, extra="forbid")

    arguments_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    note: Note = ""


class Deny(BaseModel):
    """No, and perhaps why."""

    model_config = ConfigDict(strict=True, extra="forbid")

    note: Note = ""


def state_of(text: str | None) -> str | None:
    """The state that a list is of. Raises VALIDATION_ERROR for one that does not exist."""
    if text is not None and text not in ApprovalState.values:
        raise bodies.refused([("state", f"state must be one of {', '.join(ApprovalState.values)}")])
    return text
