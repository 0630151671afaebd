"""How the v1 contract reads loose JSON: what the inputs of several handlers share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, model_validator
from pydantic_core import PydanticCustomError


class ObjectInput(BaseModel):
    """A JSON object. Anything falsy counts as `{}`, and a null field as absent; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Field → other names for it, read in this order where the field itself is blank."""
    required: ClassVar[tuple[str, str] | None] = None
    """(job type, field) that must not be blank, or `<job type> requires input.<field>`, a text that clients match."""

    @model_validator(mode="before")
    @classmethod
    def _read_object(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if value and not isinstance(value, dict):
            raise PydanticCustomError("json_object", "the input must be a JSON object")
        fields = {name: content for name, content in (value or {}).items() if content is not None}
        for name, others in cls.aliases.items():
            given = next((fields[each] for each in (name, *others) if not _is_blank(fields.get(each))), None)
            if given is not None:
                fields[name] = given
        if cls.required and _is_blank(fields.get(cls.required[1])):
            job_type, field = cls.required
            raise PydanticCustomError("required", "{type} requires input.{field}", {"type": job_type, "field": field})
        return fields


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _whole_number(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("whole_number", "must be a whole number")
    return value


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
"""A JSON number without fraction (5 and 5.0); not a text, not a boolean."""

Flag = StrictBool
"""`true` or `false`, and nothing that looks like it."""


def cut_text(limit: int, *, default: str = "") -> BeforeValidator:
    """Read a text leniently: numbers are written out, blanks trimmed, the rest cut at `limit`; blank is `default`."""

    def read(value: object) -> str:
        if not isinstance(value, str | int | float):
            raise PydanticCustomError("text", "must be a text")
        written = str(value).lower() if isinstance(value, bool) else str(value)
        return written.strip()[:limit] or default

    return BeforeValidator(read)


def finite_number(value: object) -> int | float | None:
    """`value` as a number as a JavaScript client writes it (2.0 is 2, "3.5" is 3.5); None where it is no finite one."""
    if not isinstance(value, str | int | float) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def one_or_many(value: object) -> object:
    """A single text as a list of one: for fields that exist in both forms."""
    return [value] if isinstance(value, str) else value
