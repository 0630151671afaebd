"""`manage.py approvals`: see what waits for a person, and decide."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from jobs.approvals import decisions, queries
from jobs.approvals.models import Approval
from jobs.approvals.representation import approval_json
from jobs.queries import parse_id
from jobs.text import plain, pretty
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor
from rauskuclaw.operations.text import table

SHOWN_CHARS = 100


class Command(OperatorCommand):
    """The operator's way to the verbs of `jobs.approvals.decisions`."""

    help = "List, show, approve and deny calls that wait for a person."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "what waits for a person now, the first asked first",
                "show": "exactly what would be run",
                "approve": "let the job begin",
                "deny": "cancel the job before it begins",
            },
        )
        for name in ("show", "approve", "deny"):
            verbs[name].add_argument("job_id", metavar="JOB")
        verbs["approve"].add_argument("arguments_hash", metavar="HASH", help="its beginning, as `list` shows it")
        for name in ("approve", "deny"):
            verbs[name].add_argument("--note", default="", help="why; a denial's is told to the model")

    def _list(self, **_: Any) -> Answer:
        found = list(queries.pending(Approval.objects.select_related("job__group")).order_by("requested_at"))
        rows = [
            (
                str(it.pk), it.job.child_name or it.job.type, _line(it.job.input), it.arguments_hash[:12],
                f"{it.expires_at:%Y-%m-%d %H:%M}", it.reason,
            )
            for it in found
        ]  # fmt: skip
        text = table(("JOB", "CALL", "INPUT", "HASH", "UNTIL", "WHY"), rows, self.paint) if rows else "Nothing waits."
        return Answer(text, {"approvals": [approval_json(it) for it in found]})

    def _show(self, job_id: str, **_: Any) -> Answer:
        return _told(_found(job_id))

    def _approve(self, job_id: str, arguments_hash: str, note: str, **_: Any) -> Answer:
        approval = _found(job_id)
        # A beginning is enough for a person who types it; it cannot stand for another input by chance.
        is_meant = len(arguments_hash) >= 12 and approval.arguments_hash.startswith(arguments_hash)
        whole = approval.arguments_hash if is_meant else arguments_hash
        return _told(decisions.approve(approval, arguments_hash=whole, by=command_actor(), note=note))

    def _deny(self, job_id: str, note: str, **_: Any) -> Answer:
        return _told(decisions.deny(_found(job_id), by=command_actor(), note=note))


def _found(job_id: str) -> Approval:
    found = parse_id(job_id)
    approval = Approval.objects.select_related("job__group").filter(pk=found).first() if found else None
    if approval is None:
        raise Problem(errors.NOT_FOUND, f"no approval of a job {job_id!r}: `manage.py approvals list` shows those open")
    return approval


def _told(approval: Approval) -> Answer:
    shown = approval_json(approval)
    return Answer(pretty(shown), {"approval": shown})


def _line(value: Any) -> str:
    text = plain(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
