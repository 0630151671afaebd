"""`manage.py audit`: read the audit log, and prove that nobody changed it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from access.audit import verify
from access.models import AuditEntry
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand
from rauskuclaw.operations.text import Cell, table

FILTERS = ("actor", "action", "object_type", "object_id")


class Command(OperatorCommand):
    """The operator's view of the log."""

    help = "List the audit log, or verify its hash chain."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "the newest entries, newest first",
                "verify": "find the first entry that was changed; exits 1 if there is one",
            },
        )
        verbs["list"].add_argument("--limit", type=int, default=50, help="how many; default 50")
        for name in FILTERS:
            words = name.replace("_", " ")
            verbs["list"].add_argument(f"--{words.replace(' ', '-')}", help=f"only entries with this {words}")
        verbs["verify"].add_argument(
            "--known-head", metavar="HASH", help="the head of an earlier verification; must still be there"
        )

    def _list(self, limit: int, **options: Any) -> Answer:
        wanted = {name: options[name] for name in FILTERS if options[name] is not None}
        entries = AuditEntry.objects.filter(**wanted)[: max(1, limit)]
        lines: list[list[Cell | str]] = [
            [Cell(str(it.pk), right=True), iso_ms(it.at), it.actor, it.action, it.object_id] for it in entries
        ]
        text = table(("entry", "at", "actor", "action", "object"), lines, self.paint) if lines else "No entries."
        return Answer(text, {"entries": [_entry_json(entry) for entry in entries]})

    def _verify(self, known_head: str | None, **_: Any) -> Answer:
        verdict = verify(known_head=known_head)
        if verdict.ok:
            text = f"The audit log is whole: {verdict.entries} entries, head {verdict.head}."
            return Answer(text, verdict.as_json())
        where = f"entry {verdict.broken_id}" if verdict.broken_id else "the end"
        text = f"The audit log was tampered with at {where}: {verdict.reason}."
        return Answer(text, verdict.as_json(), Problem(errors.CONFLICT, text))


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
