"""`manage.py secrets`: set and delete sealed secrets, make a master key, and change it."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import CommandParser

from access import sealing, secrets
from access.models import Secret
from access.representation import secret_json
from access.secrets import SecretUnavailable
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.errors import CONFLICT, Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor
from rauskuclaw.operations.text import Cell, count, table


class Command(OperatorCommand):
    """The operator's way to the verbs of `access.secrets`."""

    help = "Keep secrets sealed: set, list, delete, and change the key that seals them."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs. None takes a value as an argument: every user of the machine sees those."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "their names",
                "set": "keep a value, read from stdin or asked for",
                "delete": "forget one",
                "newkey": "make a master key for SECRETS_KEY",
                "rotate": "seal everything anew under SECRETS_KEY",
                "seal": "seal the value of a setting, read from stdin or asked for",
            },
        )
        verbs["set"].add_argument("name", help="settings refer to it as secret:NAME")
        verbs["set"].add_argument("--note", help="what it opens")
        verbs["delete"].add_argument("name")
        verbs["seal"].add_argument("setting", metavar="SETTING", help="e.g. OPENAI_API_KEY; it opens for no other")

    def _list(self, **_: Any) -> Answer:
        found = list(Secret.objects.all())
        lines: list[list[Cell | str]] = [
            [it.name, sealing.sealed_by(it.sealed), iso_ms(it.updated_at), it.updated_by, it.note] for it in found
        ]
        text = table(("name", "key", "set at", "by", "note"), lines, self.paint) if lines else "No secrets."
        return Answer(text, {"secrets": [secret_json(it) for it in found], "count": len(found)})

    def _set(self, name: str, note: str | None, **_: Any) -> Answer:
        secret = secrets.put(name, _value(f"Value of {name}: "), note=note, by=command_actor())
        return Answer(f"Kept; settings refer to it as secret:{name}", {"secret": secret_json(secret)})

    def _delete(self, name: str, **_: Any) -> Answer:
        secrets.delete(name, by=command_actor())
        return Answer(f"Deleted {name}.", {"name": name, "deleted": True})

    def _newkey(self, **_: Any) -> Answer:
        key = sealing.new_key()
        return Answer(key, {"key": key})

    def _rotate(self, **_: Any) -> Answer:
        try:
            done = secrets.rotate(by=command_actor())
        except SecretUnavailable as reason:
            raise Problem(CONFLICT, f"Not all could be sealed anew: {reason}.") from None
        key = sealing.key_name(sealing.current_key())
        left = "SECRETS_OLD_KEYS may go."
        return Answer(f"Sealed {count(done, 'secret')} anew under the key {key}. {left}", {"rotated": done, "key": key})

    def _seal(self, setting: str, **_: Any) -> Answer:
        sealed = sealing.seal(_value(f"Value of {setting}: "), purpose=setting)
        return Answer(sealed, {"setting": setting, "sealed": sealed})


def _value(prompt: str) -> str:
    """From the terminal without an echo, or all of stdin without its last line break."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")
