"""Asking a model through the ledger: its bound is set aside before, what it cost is spent after, however it ended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from jobs.handlers.base import AsyncJobContext
from jobs.handlers.database import in_database
from providers import ledger
from providers.answer import Answer, ask, with_partial
from providers.base import Provider, Request, Usage
from providers.conversation import ChatInput
from providers.faults import Fault
from providers.money import amount
from providers.output import usage_json
from rauskuclaw import errors
from rauskuclaw.config import load

UNPAID = frozenset({errors.PROVIDER_HTTP, errors.PROVIDER_NETWORK, errors.PROVIDER_RESPONSE})
"""Faults after which a call that brought no text counts as one that used nothing."""


@dataclass
class Bill:
    """What the calls of one job have come to."""

    usage: Usage | None = None
    cost_usd: Decimal | None = field(default=None)

    def add(self, usage: Usage, cost: Decimal | None) -> None:
        """Another call."""
        before = self.usage or Usage(0, 0)
        self.usage = Usage(
            before.input_tokens + usage.input_tokens,
            before.output_tokens + usage.output_tokens,
            before.cached_tokens + usage.cached_tokens,
            estimated=before.estimated or usage.estimated,
        )
        if cost is not None:
            self.cost_usd = (self.cost_usd or Decimal(0)) + cost

    def as_json(self) -> dict[str, Any] | None:
        """`usage` of the result."""
        told = usage_json(self.usage)
        return told if told is None or self.cost_usd is None else {**told, "cost_usd": amount(self.cost_usd)}


def used(request: Request, answer: Answer, error_code: str) -> Usage:
    """What a call used, as far as anybody knows."""
    if answer.usage is not None:
        return answer.usage
    if not answer.text and error_code in {code.name for code in UNPAID}:
        return Usage(0, 0)
    return ledger.estimate(request, answer.text)


async def ask_and_pay(ctx: AsyncJobContext[ChatInput], provider: Provider, request: Request, bill: Bill) -> Answer:
    """The answer; it is on the bill. Raises Fault: with the text that had come, or BUDGET_EXCEEDED before it asks."""

    def begin() -> ledger.OpenCall:
        owner = ledger.owner_of(ctx.job_id, thread=ctx.input.thread or "", deadline_at=ctx.deadline)
        return ledger.begin(
            owner, provider.name, provider.model, request, bounded=provider.capabilities.bounded,
            default_max=load().model_max_output_tokens,
        )  # fmt: skip

    call = await in_database(begin)
    request = replace(request, max_tokens=call.max_tokens)
    answer, began, first_text_at = Answer(), time.monotonic(), 0.0
    error_code = errors.JOB_CANCELLED.name  # unless it ends otherwise

    def emit(text: str) -> None:
        nonlocal first_text_at
        first_text_at = first_text_at or time.monotonic()
        ctx.emit(text)

    try:
        await ask(provider, request, into=answer, within_sec=ctx.remaining_sec(), emit=emit)
        error_code = ""
    except Fault as fault:
        error_code = fault.code.name
        raise with_partial(fault, answer.text) from None
    except Exception:
        error_code = errors.PROVIDER_ERROR.name
        raise
    finally:
        usage = used(request, answer, error_code)
        latency_ms = round((time.monotonic() - began) * 1000)
        first_text_ms = round((first_text_at - began) * 1000) if first_text_at else None

        def settle() -> Decimal | None:
            return ledger.settle(
                call.id, usage, latency_ms=latency_ms, first_text_ms=first_text_ms, error_code=error_code
            )

        # A second cancel must not leave the call open; a thread that has begun goes on to its end.
        bill.add(usage, await asyncio.shield(in_database(settle)))
    return answer
