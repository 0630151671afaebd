"""Checking a job's input against its handler: the same at creation and in the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from jobs.bodies import faults_of
from jobs.handlers.base import Handler

PLATFORM_FIELDS = frozenset({"depends_on"})
"""Input fields that any job may have and no handler's model needs to know."""


class InvalidInput(ValueError):
    """The input does not fit. `faults`: `{"path", "message"}` each; the text says them all."""

    def __init__(self, faults: list[dict[str, str]], handler_id: str) -> None:
        self.faults = faults
        own_name = handler_id.partition(":")[2]
        # Messages such as "tool.exec requires input.command" (contract 2.3) already name the field.
        sentences = (
            fault["message"] if fault["message"].startswith(own_name) else f"{fault['path']}: {fault['message']}"
            for fault in faults
        )
        super().__init__("; ".join(sentences))


def parse(handler: Handler[Any, Any], value: Any) -> BaseModel:
    """The input as the handler's model; a falsy one counts as {} (contract 6.1). Raises InvalidInput."""
    value = value or {}
    if isinstance(value, Mapping):
        value = {name: item for name, item in value.items() if name not in PLATFORM_FIELDS}
    try:
        parsed: BaseModel = handler.Input.model_validate(value)
    except ValidationError as error:
        raise InvalidInput(faults_of(error, "input"), handler.id) from None
    return parsed
