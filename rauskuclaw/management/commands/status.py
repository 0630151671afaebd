"""`manage.py status`: what runs here, who works, what waits."""

from __future__ import annotations

from typing import Any

from rauskuclaw.operations import status
from rauskuclaw.operations.command import Answer, OperatorCommand


class Command(OperatorCommand):
    """Exit code 1 when Postgres or Redis does not answer."""

    help = "Show what runs here, the live workers, the queues and the callbacks."

    def answer(self, **_: Any) -> Answer:
        """Look and tell."""
        return status.answer(self.paint)
