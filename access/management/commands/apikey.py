"""`manage.py apikey`: make, list and revoke the keys that are stored in the database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from access import keys
from access.models import ApiKey, Role
from access.representation import key_json
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor
from rauskuclaw.operations.text import Cell, table

_SPAN = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class Command(OperatorCommand):
    """The operator's way to the verbs of `access.keys`."""

    help = "Make, list and revoke API keys."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {"create": "make a key and show it, once", "list": "the live keys", "revoke": "close a key for good"},
        )
        create = verbs["create"]
        create.add_argument("name", help="who or what uses it")
        create.add_argument("--role", choices=Role.values, default=Role.READ.value, help="default: read")
        create.add_argument("--queue", action="append", metavar="QUEUE", help="allow only this queue (repeatable)")
        create.add_argument("--no-sse", action="store_true", help="without live streams")
        create.add_argument(
            "--expires", type=_moment, metavar="WHEN", help="12h, 30d, 4w or an ISO time; default: never"
        )
        verbs["list"].add_argument("--all", action="store_true", help="revoked keys too")
        verbs["revoke"].add_argument("key", help="its name, prefix (rk_<prefix>) or id")

    def _create(
        self, name: str, role: str, queue: list[str] | None, no_sse: bool, expires: datetime | None, **_: Any
    ) -> Answer:
        made = keys.create(
            name=name, role=role, sse=not no_sse, queue_allowlist=queue, expires_at=expires, by=command_actor()
        )
        return Answer(made.secret, {"key": key_json(made.key), "secret": made.secret})

    def _list(self, all: bool, **_: Any) -> Answer:
        found = ApiKey.objects.all() if all else ApiKey.objects.filter(revoked_at=None)
        lines: list[list[Cell | str]] = [
            [
                f"rk_{key.prefix}",
                key.role,
                Cell("revoked", "red") if key.revoked_at else Cell("live", "green"),
                key.name,
            ]
            for key in found
        ]
        text = table(("prefix", "role", "state", "name"), lines, self.paint) if lines else "No keys."
        return Answer(text, {"keys": [key_json(key) for key in found]})

    def _revoke(self, key: str, **_: Any) -> Answer:
        revoked = keys.revoke(_named(key).pk, by=command_actor())
        return Answer(f"Revoked {revoked}.", {"key": key_json(revoked)})


def _named(text: str) -> ApiKey:
    """The live key of that name, else the key of that prefix or id. Raises NOT_FOUND."""
    by_prefix = ApiKey.objects.filter(prefix=text.removeprefix("rk_"))
    key = ApiKey.objects.filter(name=text, revoked_at=None).first() or by_prefix.first()
    if key is None and re.fullmatch(r"[0-9a-f-]{32,36}", text):
        key = ApiKey.objects.filter(pk=text).first()
    if key is None:
        raise Problem(errors.NOT_FOUND, f"No key is named {text!r}: `manage.py apikey list --all` shows them.")
    return key


def _moment(text: str) -> datetime:
    """`30d` → in 30 days; an ISO time without an offset is UTC. ValueError otherwise, which argparse tells."""
    if match := _SPAN.fullmatch(text):
        return timezone.now() + timedelta(**{_UNITS[match[2]]: int(match[1])})
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
