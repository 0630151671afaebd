"""A mail server of a test's own, which keeps what it is given."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller


class Mails:
    """The mails that came, as `mails.taken`. refuse: what to answer instead of taking one."""

    def __init__(self, port: int) -> None:
        self.taken: list[EmailMessage] = []
        self.refuse = ""
        self.port = port

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail."""
        if self.refuse:
            return self.refuse
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.taken.append(mail)
        return "250 taken"


@contextmanager
def mail_server() -> Iterator[Mails]:
    """A real SMTP server on a free port of 127.0.0.1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mails = Mails(free.getsockname()[1])
    controller = Controller(mails, hostname="127.0.0.1", port=mails.port)
    controller.start()
    try:
        yield mails
    finally:
        controller.stop()
