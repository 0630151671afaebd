"""`manage.py up`: run the whole local stack, embedded servers included."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from rauskuclaw.stack.run import main


class Command(BaseCommand):
    """Needs no database: it starts one."""

    help = "Run the whole stack here: embedded Postgres and Redis, web, workers and beat. Ctrl-C stops it."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """`--json` for programs."""
        parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run until stopped. Exit code: 0 after a clean stop, 1 when it could not run, 2 for a bad configuration."""
        sys.exit(main(as_json=options["json"]))
