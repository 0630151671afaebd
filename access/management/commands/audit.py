"""`manage.py audit`: read the audit log, and prove that nobody changed it."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from access.audit import verify
from access.models import AuditEntry
from rauskuclaw.api.fields import iso_ms


class Command(BaseCommand):
    """The operator's view of the log."""

    help = "List the audit log, or verify its hash chain."

    def add_arguments(self, parser: CommandParser) -> None:
        """The two verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="the newest entries, newest first")
        listing.add_argument("--limit", type=int, default=50, help="how many; default 50")
        for name in ("actor", "action", "object_type", "object_id"):
            listing.add_argument(f"--{name.replace('_', '-')}", help=f"only entries with this {name.replace('_', ' ')}")
        proof = verbs.add_parser("verify", help="find the first entry that was changed; exits 1 if there is one")
        proof.add_argument(
            "--known-head", metavar="HASH", help="the head of an earlier verification; must still be there"
        )
        for verb in (listing, proof):
            verb.add_argument("--json", action="store_true", help="answer in JSON")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Run one verb."""
        if verb == "list":
            self._list(**options)
        else:
            self._verify(**options)

    def _list(self, limit: int, **options: Any) -> None:
        wanted = {
            name: options[name] for name in ("actor", "action", "object_type", "object_id") if options[name] is not None
        }
        entries = AuditEntry.objects.filter(**wanted)[: max(1, limit)]
        if options["json"]:
            self.stdout.write(json.dumps({"ok": True, "entries": [_entry_json(entry) for entry in entries]}))
            return
        for entry in entries:
            self.stdout.write(
                f"{entry.pk:>6}  {iso_ms(entry.at)}  {entry.actor:20}  {entry.action:20}  {entry.object_id}"
            )

    def _verify(self, known_head: str | None, **options: Any) -> None:
        verdict = verify(known_head=known_head)
        if options["json"]:
            self.stdout.write(json.dumps(verdict.as_json()))
        elif verdict.ok:
            self.stdout.write(f"The audit log is whole: {verdict.entries} entries, head {verdict.head}.")
        else:
            where = f"entry {verdict.broken_id}" if verdict.broken_id else "the end"
            self.stdout.write(f"The audit log was tampered with at {where}: {verdict.reason}.")
        if not verdict.ok:
            sys.exit(1)


def _entry_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "at": iso_ms(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "details": entry.details,
        "hash": entry.hash,
    }
