"""`manage.py apikey`: make, list and revoke the keys that are stored in the database."""

from __future__ import annotations

import json
import os
import pwd
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from access import keys
from access.api.representation import key_json
from access.models import ApiKey, Role
from rauskuclaw.errors import Problem

_SPAN = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class Command(BaseCommand):
    """The operator's way to the verbs of `access.keys`."""

    help = "Make, list and revoke API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        """The three verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a key and show it, once")
        create.add_argument("name", help="who or what uses it")
        create.add_argument("--role", choices=Role.values, default=Role.READ.value, help="default: read")
        create.add_argument("--queue", action="append", metavar="QUEUE", help="allow only this queue (repeatable)")
        create.add_argument("--no-sse", action="store_true", help="without live streams")
        create.add_argument(
            "--expires", type=_moment, metavar="WHEN", help="12h, 30d, 4w or an ISO time; default: never"
        )
        listing = verbs.add_parser("list", help="list the live keys")
        listing.add_argument("--all", action="store_true", help="revoked keys too")
        revoke = verbs.add_parser("revoke", help="close a key for good")
        revoke.add_argument("key", help="its name, prefix (rk_<prefix>) or id")
        for verb in (create, listing, revoke):
            verb.add_argument("--json", action="store_true", help="answer in JSON")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Run one verb. Exits non-zero, with the reason, when it is refused."""
        try:
            getattr(self, f"_{verb}")(**options)
        except Problem as problem:
            raise CommandError(problem.message) from None

    def _create(
        self, name: str, role: str, queue: list[str] | None, no_sse: bool, expires: datetime | None, **options: Any
    ) -> None:
        made = keys.create(
            name=name, role=role, sse=not no_sse, queue_allowlist=queue, expires_at=expires, by=command_actor()
        )
        self._tell(options, {"ok": True, "key": key_json(made.key), "secret": made.secret}, made.secret)

    def _list(self, all: bool, **options: Any) -> None:
        found = ApiKey.objects.all() if all else ApiKey.objects.filter(revoked_at=None)
        lines = [
            f"rk_{key.prefix}  {key.role:5}  {'revoked' if key.revoked_at else 'live':7}  {key.name}" for key in found
        ]
        self._tell(options, {"ok": True, "keys": [key_json(key) for key in found]}, "\n".join(lines) or "No keys.")

    def _revoke(self, key: str, **options: Any) -> None:
        revoked = keys.revoke(_named(key).pk, by=command_actor())
        self._tell(options, {"ok": True, "key": key_json(revoked)}, f"Revoked {revoked}.")

    def _tell(self, options: dict[str, Any], answer: dict[str, Any], text: str) -> None:
        self.stdout.write(json.dumps(answer) if options["json"] else text)


def command_actor() -> str:
    """Who runs this command, for the audit log: `cli:<account>`."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's arbitrary user id has no account
        return f"cli:{os.getuid()}"


def _named(text: str) -> ApiKey:
    """The live key of that name, else the key of that prefix or id. Raises CommandError."""
    by_prefix = ApiKey.objects.filter(prefix=text.removeprefix("rk_"))
    key = ApiKey.objects.filter(name=text, revoked_at=None).first() or by_prefix.first()
    if key is None and re.fullmatch(r"[0-9a-f-]{32,36}", text):
        key = ApiKey.objects.filter(pk=text).first()
    if key is None:
        raise CommandError(f"No key is named {text!r}: `manage.py apikey list --all` shows them.")
    return key


def _moment(text: str) -> datetime:
    """`30d` → in 30 days; an ISO time without an offset is UTC. ValueError otherwise, which argparse tells."""
    if match := _SPAN.fullmatch(text):
        return timezone.now() + timedelta(**{_UNITS[match[2]]: int(match[1])})
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
