"""Reading a request's body into a pydantic model, every fault named by the path of its field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from rauskuclaw import errors
from rauskuclaw.errors import Problem

Body = TypeVar("Body", bound=BaseModel)
MAX_LIMIT = 1_000_000
"""Of everything that may be limited in number."""


def whole(value: Any) -> Any:
    """2.0 is a JSON number without a fraction, hence an integer (contract 0); "2" and true are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(whole)]
Limit = Annotated[Whole, Field(ge=1, le=MAX_LIMIT)]


def moment(value: object) -> object:
    """ISO 8601; UTC unless it says otherwise."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError("must be a moment in ISO 8601, e.g. 2027-01-31T06:00:00Z")
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a moment that UTC has") from None


Moment = Annotated[datetime, BeforeValidator(moment)]


def refused(faults: Sequence[tuple[str, str]]) -> Problem:
    """A 400 that names each field by its path. faults: (path, message)."""
    details = {"errors": [{"path": path, "message": message} for path, message in faults]}
    return Problem(errors.VALIDATION_ERROR, "; ".join(message for _, message in faults), details)


def invalid(path: str, message: str) -> Problem:
    """A 400 that names the field."""
    return refused([(path, message)])


def faulty(path: str, what: str) -> Problem:
    """A 400 that names the field, in its message too: as `parse` tells of it."""
    return Problem(errors.VALIDATION_ERROR, f"{path}: {what}", {"errors": [{"path": path, "message": what}]})


def parse(model: type[Body], body: object, *at: str) -> Body:
    """The body as `model`; at: where it is in the whole one. Raises VALIDATION_ERROR with all faults."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = faults_of(error, *at)
        first = f"{faults[0]['path'] or 'the body'}: {faults[0]['message']}"
        raise Problem(errors.VALIDATION_ERROR, first, {"errors": faults}) from None


def faults_of(error: ValidationError, *at: str) -> list[dict[str, str]]:
    """`{"path", "message"}` of each fault. at: where in the whole the value is that was checked."""
    return [
        {"path": ".".join([*at, *map(str, fault["loc"])]), "message": fault["msg"].removeprefix("Value error, ")}
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
