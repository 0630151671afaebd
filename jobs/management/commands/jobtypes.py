"""`manage.py jobtypes`: see and change the kinds of jobs."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from jobs import job_types, queries
from jobs.job_types import JobTypeChange, Limits, RetrySettings
from jobs.models import JobType
from jobs.representation import type_json
from jobs.text import type_page, type_table
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor

KEYS = (
    *(name for name in JobTypeChange.model_fields if name not in {"retry", "limits"}),
    *(f"retry.{name}" for name in RetrySettings.model_fields),
    *(f"limits.{name}" for name in Limits.model_fields),
)
"""What `set` can change."""


class Command(OperatorCommand):
    """The operator's way to the verbs of `jobs.job_types`."""

    help = "List, show, switch and change job types."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "every job type",
                "show": "one job type, with the JSON Schema of its input",
                "enable": "let jobs of the types be created and run",
                "disable": "refuse new jobs of the types; queued ones fail when their turn comes",
                "pause": "let no job of the types begin; those that run go on",
                "resume": "let jobs of the types begin again",
                "set": f"change a type; keys: {', '.join(KEYS)}",
            },
        )
        verbs["show"].add_argument("name")
        for name in ("enable", "disable", "pause", "resume"):
            verbs[name].add_argument("names", nargs="+", metavar="NAME")
        verbs["set"].add_argument("name")
        verbs["set"].add_argument(
            "changes",
            nargs="+",
            metavar="KEY=VALUE",
            help="e.g. retry.base_sec=5, limits.max_running=4, limits.rate=null",
        )

    def _list(self, **_: Any) -> Answer:
        types = queries.job_types()
        return Answer(type_table(types, self.paint), {"types": [type_json(it) for it in types]})

    def _show(self, name: str, **_: Any) -> Answer:
        job_type = queries.job_type(name)
        return Answer(type_page(job_type, self.paint), {"type": type_json(job_type)})

    def _enable(self, names: list[str], **_: Any) -> Answer:
        return self._switch(names, enabled=True)

    def _disable(self, names: list[str], **_: Any) -> Answer:
        return self._switch(names, enabled=False)

    def _pause(self, names: list[str], **_: Any) -> Answer:
        return self._switch(names, paused=True)

    def _resume(self, names: list[str], **_: Any) -> Answer:
        return self._switch(names, paused=False)

    def _switch(self, names: list[str], **change: bool) -> Answer:
        for name in names:
            queries.job_type(name)  # all of them exist, or none is changed
        return self._changed([_update(name, change) for name in names])

    def _set(self, name: str, changes: list[str], **_: Any) -> Answer:
        return self._changed([_update(name, parse_changes(changes))])

    def _changed(self, types: list[JobType]) -> Answer:
        return Answer(type_table(types, self.paint), {"types": [type_json(it) for it in types]})


def _update(name: str, body: dict[str, Any]) -> JobType:
    return job_types.update(name, job_types.parse_change(body), by=command_actor())


def parse_changes(texts: list[str]) -> dict[str, Any]:
    """`["enabled=true", "retry.base_sec=5"]` → the body of PATCH /v1/job-types/{name}. Raises VALIDATION_ERROR.

    Values are JSON; what is none is text.
    """
    body: dict[str, Any] = {}
    for text in texts:
        key, equals, raw = text.partition("=")
        if not equals or key not in KEYS:
            raise Problem(errors.VALIDATION_ERROR, f"{text!r}: give KEY=VALUE with a KEY of {', '.join(KEYS)}")
        value = _value(raw)
        if key == "enabled" and not isinstance(value, bool):
            # The API takes any truthy value here, and "no" is one.
            raise Problem(errors.VALIDATION_ERROR, f"{text!r}: give enabled=true or enabled=false")
        parent, _, child = key.partition(".")
        if child:
            body.setdefault(parent, {})[child] = value
        else:
            body[key] = value
    return body


def _value(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw
