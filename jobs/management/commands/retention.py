"""`manage.py retention`: delete what is old now, or tell what would go."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import CommandParser

from jobs.retention import run
from jobs.retention.representation import finding_json
from jobs.retention.run import Finding
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand
from rauskuclaw.operations.text import Cell, Paint, size, table


class Command(OperatorCommand):
    """One run of retention, until nothing is left. It may be stopped at any moment."""

    help = "Delete what is older than its policy says, in short transactions; --dry-run: tell what would go."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """`--dry-run`."""
        parser.add_argument("--dry-run", action="store_true", help="delete nothing, tell what would go")
        parser.add_argument("--max-sec", type=float, help="stop after so many seconds")

    def answer(self, *, verb: str = "", dry_run: bool = False, max_sec: float | None = None, **options: Any) -> Answer:
        """Run, or look."""
        if dry_run:
            found = run.preview()
            return Answer(_table(found, self.paint), {"found": [finding_json(finding) for finding in found]})
        is_told = not options["json"]
        report = run.run(run_sec=max_sec, tell=self._tell if is_told else None, all_at_once=True)
        if report is None:
            raise Problem(errors.CONFLICT, "another run is at work: try again when it has ended")
        removed = dict(sorted(report.removed.items()))
        return Answer(
            f"Deleted {_said(report.removed)}{' so far; there is more' if report.more else ''}.",
            {"removed": removed, "more": report.more, "took_sec": round(report.took_sec, 1)},
        )

    def _tell(self, removed: Counter[str]) -> None:
        self.stderr.write(f"… {_said(removed)}")


def _said(removed: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(removed.items())) or "nothing"


def _table(found: list[Finding], paint: Paint) -> str:
    rows = [
        (
            it.kind.replace("_", " "), it.type or "", it.policy,
            Cell(f"{it.old.count:,}{'+' if finding_json(it)['more'] else ''}", right=True),
            f"{it.old.oldest:%Y-%m-%d}" if it.old.oldest else "",
            Cell(size(it.old.size_bytes) if it.old.size_bytes else "", right=True),
        )
        for it in found
    ]  # fmt: skip
    return table(("KIND", "TYPE", "KEPT", "WOULD GO", "OLDEST", "SIZE"), rows, paint)
