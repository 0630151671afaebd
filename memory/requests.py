"""What a request says of memories: its fields, their bounds, their defaults (contract 2.8, 8.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from jobs import bodies
from jobs.bodies import Moment, Whole, faulty
from memory.models import MAX_TTL_SEC
from rauskuclaw.config import load
from rauskuclaw.patterns import MEMORY_KEY, MEMORY_SCOPE

MAX_TAGS = 50
MAX_TAG_CHARS = 200
MAX_QUERY_CHARS = 40_000

Mode = Literal["vector", "text", "hybrid"]


def _scope(value: str) -> str:
    if not MEMORY_SCOPE.fullmatch(value.strip()):
        raise ValueError("must be 2 to 80 of a-z 0-9 . _ : -")
    return value.strip()


def _key(value: str) -> str:
    if not MEMORY_KEY.fullmatch(value.strip()):
        raise ValueError("must be 2 to 120 of a-z 0-9 . _ : -")
    return value.strip()


def _truthy_1(value: object) -> object:
    """`true` or `"1"` (contract 8.3); nothing else is."""
    return value is True or value == "1"


Scope = Annotated[str, AfterValidator(_scope)]
Key = Annotated[str, AfterValidator(_key)]
Ttl = Annotated[Whole, Field(ge=1, le=MAX_TTL_SEC)]
Tags = Annotated[list[Annotated[str, Field(max_length=MAX_TAG_CHARS)]], Field(max_length=MAX_TAGS)]


class NewMemory(BaseModel):
    """A memory to write. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    scope: Scope
    key: Key
    value: Any
    tags: list[str] = []
    ttl_sec: Ttl | None = None
    trusted: bool = True


class Reset(BaseModel):
    """What to forget. scope None: everything."""

    model_config = ConfigDict(strict=True, extra="ignore")

    confirm: Literal[True]
    scope: Scope | None = None


class Filter(BaseModel):
    """What a search is narrowed to."""

    model_config = ConfigDict(strict=True, extra="ignore")

    tags: Tags = []
    """All of them."""
    since: Moment | None = None
    """Updated at or after."""
    until: Moment | None = None
    """Updated before."""
    value: Any = None
    """JSON that the value must contain, as Postgres' @> has it; None: whatever."""


class Search(Filter):
    """A search."""

    scope: Scope
    query: Annotated[str, Field(max_length=MAX_QUERY_CHARS)]
    top_k: Whole = 10
    include_expired: Annotated[bool, BeforeValidator(_truthy_1)] = False
    mode: Mode = "vector"
    strict: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether it is narrowed further than to its scope."""
        return bool(self.tags or self.since or self.until or self.value is not None)


def parse_new(body: object) -> NewMemory:
    """The body of POST /v1/memory. Raises VALIDATION_ERROR."""
    if isinstance(body, Mapping):
        body = {**body, "tags": tags_of(body.get("tags"))}
        if body.get("trusted", True) is None:
            del body["trusted"]
    return bodies.parse(NewMemory, body)


def tags_of(value: object) -> list[str]:
    """The first MAX_TAGS of a list, each a text; none of anything else (contract 2.8)."""
    tags = value[:MAX_TAGS] if isinstance(value, list) else []
    return [tag if isinstance(tag, str) else json.dumps(tag, ensure_ascii=False) for tag in tags]


def parse_reset(body: object) -> Reset:
    """The body of POST /v1/memory/reset. Raises VALIDATION_ERROR, also for a scope that is there and null."""
    if isinstance(body, Mapping) and body.get("confirm") is not True:
        raise faulty("confirm", "must be true: what is forgotten is gone")
    if isinstance(body, Mapping) and "scope" in body and body["scope"] is None:
        raise faulty("scope", "must be 2 to 80 of a-z 0-9 . _ : -, or left out to forget everything")
    return bodies.parse(Reset, body)


def parse_search(body: object) -> Search:
    """The body of POST /v1/memory/search, with the configured defaults. Raises VALIDATION_ERROR."""
    config = load()
    if isinstance(body, Mapping):
        given = {name: value for name, value in body.items() if value is not None}
        body = {"top_k": config.memory_search_top_k_default, "strict": config.memory_search_strict} | given
    search = bodies.parse(Search, body)
    if not search.query.strip():
        raise faulty("query", "must be a text that is not blank")
    if not 1 <= search.top_k <= config.memory_search_top_k_max:
        raise faulty("top_k", f"must be a whole number from 1 to {config.memory_search_top_k_max}")
    return search
