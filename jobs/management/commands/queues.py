"""`manage.py queues`: see how busy the queues are, pause, resume and limit them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from jobs import queues
from jobs.queues import QueueChange
from jobs.text import queue_table
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor
from rauskuclaw.patterns import QUEUE

NO_LIMIT = "none"


class Command(OperatorCommand):
    """The operator's way to the verbs of `jobs.queues`."""

    help = "List, pause, resume and limit queues."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "every queue, and how busy it is",
                "pause": "let no job of the queues begin; those that run go on",
                "resume": "let jobs of the queues begin again",
                "limit": "let only so many jobs of a queue run at once",
            },
        )
        for name in ("pause", "resume"):
            verbs[name].add_argument("names", nargs="+", metavar="NAME")
        verbs["limit"].add_argument("name")
        verbs["limit"].add_argument("max_running", metavar="NUMBER", help=f"at least 1, or `{NO_LIMIT}`")

    def _list(self, **_: Any) -> Answer:
        return self._shown(None)

    def _pause(self, names: list[str], **_: Any) -> Answer:
        return self._changed(names, QueueChange(paused=True))

    def _resume(self, names: list[str], **_: Any) -> Answer:
        return self._changed(names, QueueChange(paused=False))

    def _limit(self, name: str, max_running: str, **_: Any) -> Answer:
        if max_running != NO_LIMIT and not max_running.isdecimal():
            raise Problem(errors.VALIDATION_ERROR, f"{max_running!r}: give a number, or {NO_LIMIT}")
        most = None if max_running == NO_LIMIT else int(max_running)
        return self._changed([name], queues.parse_change({"max_running": most}))

    def _changed(self, names: list[str], change: QueueChange) -> Answer:
        for name in names:
            if not QUEUE.fullmatch(name):  # all of them can be queues, or none is changed
                raise Problem(errors.VALIDATION_ERROR, f"{name!r}: a queue's name has 1 to 80 of a-z 0-9 . _ : -")
        for name in names:
            queues.change(name, change, by=command_actor())
        return self._shown(names)

    def _shown(self, names: list[str] | None) -> Answer:
        found = [it for name, it in queues.by_name().items() if names is None or name in names]
        text = queue_table(found, self.paint) if found else "No queues yet."
        return Answer(text, {"queues": [it.as_json() for it in found]})
