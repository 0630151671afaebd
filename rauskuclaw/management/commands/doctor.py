"""`manage.py doctor`: check everything an operator can get wrong, and say the fix."""

from __future__ import annotations

from typing import Any

from rauskuclaw.operations import doctor
from rauskuclaw.operations.command import Answer, OperatorCommand


class Command(OperatorCommand):
    """Exit code 1 when a check fails; warnings alone are 0."""

    help = "Check servers, versions, settings, clocks, disk, queues, keys and handlers; say the fix of what is wrong."

    def answer(self, **_: Any) -> Answer:
        """Check and tell."""
        return doctor.answer(self.paint)
