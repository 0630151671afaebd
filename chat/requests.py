"""What requests say of threads and messages: fields, bounds, defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from chat.suggesting import Mode, Policy
from jobs.bodies import Whole
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import JOB_TYPE, QUEUE

MAX_TEXT_CHARS = 200_000
MAX_SYSTEM_CHARS = 12_000

Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Said = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARS, pattern=r"\S")]
TypeName = Annotated[str, StringConstraints(pattern=f"(?i)^(?:{JOB_TYPE.pattern})$")]


class SuggestionPolicy(BaseModel):
    """Which suggested jobs run by themselves: the bounds of `smart`."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode = "smart"
    max_timeout_sec: Whole = Field(30, ge=1, le=3600)
    max_attempts: Whole = Field(1, ge=1, le=10)
    max_priority: Whole = Field(5, ge=0, le=10)
    allow_types: list[TypeName] = Field(["report.generate", "memory.write"], max_length=100)

    def policy(self) -> Policy:
        """As the parser takes it."""
        return Policy(**{**self.model_dump(), "allow_types": tuple(self.allow_types)})


class Settings(BaseModel):
    """How a thread is answered. What is null is left to the job type and its provider."""

    model_config = ConfigDict(extra="forbid")

    type: TypeName = "ai.chat.generate"
    system: Annotated[str, StringConstraints(max_length=MAX_SYSTEM_CHARS)] = ""
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: Whole | None = Field(None, ge=1, le=1_000_000)
    max_prompt_tokens: Whole = Field(12_000, ge=512, le=200_000)
    agent_tools: bool = False
    memory: dict[str, Any] | Literal[False] | None = None
    memory_write: dict[str, Any] | None = None
    repo_context: dict[str, bool] | None = None
    timeout_sec: Whole | None = Field(None, ge=1, le=3600)
    suggestions: SuggestionPolicy = Field(default_factory=SuggestionPolicy)
    answer_results: bool = False
    """Whether what suggested jobs came to is answered at once, without a person's next message."""


class NewThread(BaseModel):
    """The body of POST /v1/chat/threads."""

    title: Title = ""
    queue: Annotated[str, StringConstraints(pattern=f"(?i)^(?:{QUEUE.pattern})$")] = "default"
    settings: Settings = Field(default_factory=Settings)


class ThreadChange(BaseModel):
    """The body of PATCH /v1/chat/threads/{id}; what is not sent stays."""

    title: Title = ""
    archived: bool = False
    head_id: UUID | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


def _text_or_none(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else str(value)


class NewMessage(BaseModel):
    """The body of POST /v1/chat/threads/{id}/messages."""

    content: Said
    parent_id: Annotated[UUID | None, BeforeValidator(_text_or_none)] = None


class Edit(BaseModel):
    """The body of POST /v1/chat/messages/{id}/edit."""

    content: Said


class Decision(BaseModel):
    """The body of POST /v1/chat/messages/{id}/suggestions: what is to become of which."""

    model_config = ConfigDict(extra="forbid")

    approve: list[UUID] | Literal["all", "auto"] = Field(default_factory=list)
    dismiss: list[UUID] | Literal["all"] = Field(default_factory=list)

    def require_something(self) -> None:
        """Raise VALIDATION_ERROR for a decision on nothing."""
        if not self.approve and not self.dismiss:
            raise Problem(
                errors.VALIDATION_ERROR, "Nothing to decide: send `approve` or `dismiss`, ids of suggestions or 'all'."
            )
