"""Metadata of projects: read and change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from django.db import transaction
from django.utils import timezone
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from access import audit
from jobs import bodies
from rauskuclaw.api.fields import iso_ms_or_none
from rauskuclaw.errors import VALIDATION_ERROR, Problem, bad_field
from workspaces.models import ProjectMeta

MAX_ID_CHARS = 200
MAX_IDS = 100
MAX_TAGS_BYTES = 16_384
FIELDS = ("displayName", "notes", "tags", "isArchived")


def _text_or_null(value: object) -> object:
    return value.strip() or None if isinstance(value, str) else value


class MetaChange(BaseModel):
    """What of a project's metadata can be changed. Blank texts are null, and only `true` archives (contract 2.13)."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    display_name: Annotated[str | None, StringConstraints(max_length=200), BeforeValidator(_text_or_null)] = Field(
        None, alias="displayName"
    )
    notes: Annotated[str | None, StringConstraints(max_length=20_000), BeforeValidator(_text_or_null)] = None
    tags: list[Any] | None = None
    archived: Annotated[bool, BeforeValidator(lambda value: value is True)] = Field(False, alias="isArchived")

    @field_validator("tags")
    @classmethod
    def _small(cls, value: list[Any] | None) -> list[Any] | None:
        if value is not None and len(json.dumps(value)) > MAX_TAGS_BYTES:
            raise ValueError(f"must be at most {MAX_TAGS_BYTES:,} bytes as JSON")
        return value


def parse_change(body: object) -> MetaChange:
    """The body of a PATCH. Raises VALIDATION_ERROR, also when it holds nothing to change."""
    change = bodies.parse(MetaChange, body)
    if not change.model_fields_set:
        raise Problem(VALIDATION_ERROR, f"Nothing to change: send at least one of {', '.join(FIELDS)}.")
    return change


def get(ids: Sequence[str]) -> dict[str, ProjectMeta | None]:
    """The metadata of projects by id, in their order; None for those that nothing is known of."""
    for project_id in ids:
        _check_id(project_id)
    found = ProjectMeta.objects.in_bulk(list(ids))
    return {it: found.get(it) for it in ids}


def update(project_id: str, change: MetaChange, *, by: str) -> ProjectMeta:
    """Change what was given. Raises VALIDATION_ERROR for an id that cannot be kept."""
    _check_id(project_id)
    given = change.model_dump(exclude_unset=True) | {"updated_at": timezone.now()}
    with transaction.atomic():
        meta, _ = ProjectMeta.objects.update_or_create(project_id=project_id, defaults=given)
        changed = sorted(given.keys() - {"updated_at"})
        audit.record(
            actor=by, action="project.updated", object_type="project", object_id=project_id[:160],
            details={"fields": changed},
        )  # fmt: skip
    return meta


def meta_json(project_id: str, meta: ProjectMeta | None) -> dict[str, Any]:
    """As the API shows it: in camelCase, unlike everything else."""
    return {
        "projectId": project_id,
        "displayName": meta and meta.display_name,
        "notes": meta and meta.notes,
        "tags": meta and meta.tags,
        "isArchived": bool(meta and meta.archived),
        "updatedAt": iso_ms_or_none(meta.updated_at if meta else None),
    }


def _check_id(project_id: str) -> None:
    if "\0" in project_id or len(project_id) > MAX_ID_CHARS:
        raise bad_field("projectId", f"must be at most {MAX_ID_CHARS} characters, and none of them NUL")
