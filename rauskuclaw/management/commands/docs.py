"""`manage.py docs`: write the pages that are made from the code; `--check` only says whether they are in step."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rauskuclaw.config import ROOT
from rauskuclaw.docs import pages


class Command(BaseCommand):
    """Generate documentation."""

    help = "Write docs/configuration.md, docs/errors.md and .env.example from the code."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--check` writes nothing and ends with 1 when a page is out of step."""
        parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is out of step")

    def handle(self, *_args: Any, check: bool, **_options: Any) -> None:
        """Write or compare."""
        stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        if check and stale:
            raise CommandError(f"Out of step with the code: {names}. Run `manage.py docs` and commit the result.")
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path], "utf-8")
        self.stdout.write(f"wrote {names}" if stale else "in step")
