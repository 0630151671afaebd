"""One answer of a model: what its events come to, and how it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from providers.base import Event, Finish, Provider, Request, TextDelta, ToolCall, Usage
from providers.faults import Fault
from rauskuclaw import errors

MARGIN_SEC = 0.5
"""The model must be done so long before the job's time is up: its partial text is to be kept."""
MAX_PARTIAL_CHARS = 65_536
"""Of an answer that broke off, what its error keeps."""


@dataclass
class Answer:
    """What has come so far."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage | None = None
    finish: Finish | None = None

    def take(self, event: Event) -> None:
        """The next event."""
        match event:
            case TextDelta():
                self.text += event.text
            case ToolCall():
                self.calls.append(event)
            case Usage():
                self.usage = event
            case Finish():
                self.finish = event

    def check(self, who: str) -> None:
        """Raise the Fault of an answer that is not whole, or says nothing."""
        if self.finish is None:
            raise Fault(errors.PROVIDER_NETWORK, f"the answer of {who} ended before it was complete")
        if not self.text.strip() and not self.calls:
            raise Fault(errors.PROVIDER_RESPONSE, f"{who} gave an empty answer", {"finish_reason": self.finish.reason})

    def as_message(self) -> dict[str, Any]:
        """The model's turn in the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [call.as_message_part() for call in self.calls]
        return message


async def ask(
    provider: Provider, request: Request, *, into: Answer, within_sec: float, emit: Callable[[str], None]
) -> None:
    """Ask, fill `into`, and pass text on as it comes. What came before a fault or a cancel is in `into`.

    within_sec: time left to the job. Raises Fault.
    """
    who = f"the {provider.name} provider"
    try:
        async with asyncio.timeout(max(0.1, within_sec - MARGIN_SEC)):
            # Closed on every way out, and with it the connection: a cancel must reach the provider at once.
            async with aclosing(provider.chat(request)) as events:
                async for event in events:
                    into.take(event)
                    if isinstance(event, TextDelta):
                        emit(event.text)
    except TimeoutError:
        raise Fault(errors.PROVIDER_TIMEOUT, f"{who} was not done in the job's time, {within_sec:.1f} s") from None
    into.check(who)


def with_partial(fault: Fault, text: str) -> Fault:
    """The fault, and in its details the text that had come."""
    if text:
        fault.details["partial_text"] = text[:MAX_PARTIAL_CHARS]
    return fault
