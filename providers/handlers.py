"""The chat handlers: one for each provider (contract 7.1 to 7.3)."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from jobs.handlers.base import AsyncHandler, AsyncJobContext, AttemptFailed, Handler, JobContext, Needs
from jobs.handlers.database import in_database
from memory.context import Log
from providers import ledger, registry
from providers.agent import Dialogue
from providers.base import Request, Usage
from providers.codex import Codex, Run, prompt_of
from providers.conversation import ChatInput, check, choice_of
from providers.faults import Fault
from providers.mcp import handlers as mcp_handlers
from providers.output import ChatOutput
from providers.paying import Bill, ask_and_pay
from providers.remembering import Remembering
from rauskuclaw import errors
from rauskuclaw.config import load

logger = logging.getLogger("providers")

NOT_STARTED = frozenset({errors.PROVIDER_NOT_FOUND, errors.PROVIDER_CONFIG})
"""Faults after which the program has asked no model."""


class ChatHandler(AsyncHandler[ChatInput, ChatOutput]):
    """Asks a provider over the network: streams text to whoever follows the job, and returns the whole answer."""

    Input = ChatInput
    Output = ChatOutput
    needs = Needs(network=True)
    checks_input_at_creation = False
    provider: ClassVar[str]
    """Its name in `providers.registry`, in results and in logs."""

    async def arun(self, ctx: AsyncJobContext[ChatInput]) -> ChatOutput:
        """Fails with one of PROVIDER_*, then with what had come of the answer in `details.partial_text`; or with one of
        MEMORY_CONTEXT_* and MEMORY_WRITE_*."""
        if ctx.state is None:
            ctx.log("Starting provider-backed handler", handler=self.id)
        with telling(ctx.log, handler=self.id, provider=self.provider):
            check(ctx.input)
        remembering = await in_database(lambda: Remembering.begin(ctx.input, ctx.log, state=ctx.state))
        with telling(ctx.log, handler=self.id, provider=self.provider):
            output = await self._answer(ctx, remembering)
        output = await in_database(lambda: remembering.end(output, ctx.job_id, ctx.log))
        ctx.log("Provider-backed handler completed", **completed_meta(self.id, output))
        return output

    async def _answer(self, ctx: AsyncJobContext[ChatInput], remembering: Remembering) -> ChatOutput:
        given, max_rounds = remembering.given, load().agent_tool_max_rounds
        if ctx.state is None:
            dialogue = await in_database(lambda: Dialogue.begin(remembering, ctx.log))
        else:
            dialogue = Dialogue.resume(dict(ctx.state), ctx.children)
        while True:
            provider = await in_database(lambda: registry.prepare(self.provider))
            answer = await ask_and_pay(ctx, provider, self._request(ctx, given, dialogue), dialogue.bill)
            if not dialogue.wants_tools(answer):
                break
            if dialogue.rounds >= max_rounds:
                facts = {"max_rounds": max_rounds, "remaining_tool_calls": len(answer.calls)}
                ctx.log("Stopping tool-calling loop at max rounds", "warn", **facts)
                break
            children = await in_database(partial(dialogue.start_round, answer, ctx.job_id, ctx.log))
            if children:
                ctx.spawn(children, on_failure="collect", state=dialogue.as_state())
            dialogue.end_round_without_jobs()
        return ChatOutput(
            provider=provider.name,
            model=provider.model,
            output_text=answer.text,
            finish_reason=answer.finish.reason if answer.finish else None,
            tool_calls=[call.as_message_part() for call in answer.calls] or None,
            usage=dialogue.bill.as_json(),
            id=answer.finish.id if answer.finish else None,
            tool_execution=dialogue.execution_json(max_rounds),
            untrusted_sources=dialogue.untrusted or None,
        )

    def _request(self, ctx: AsyncJobContext[ChatInput], given: ChatInput, dialogue: Dialogue) -> Request:
        # A choice that demands a call is for the first round: after it the model must be free to answer.
        choice = None if dialogue.rounds else choice_of(given)
        return Request(
            messages=dialogue.messages,
            tools=dialogue.tools,
            tool_choice=choice or ("auto" if dialogue.rounds or given.agent_tools else None),
            temperature=given.temperature,
            max_tokens=given.max_tokens,
            connect_timeout_sec=min(10.0, max(0.1, ctx.remaining_sec())),
        )

    def on_invalid_input(self, ctx_log: Any, message: str) -> AttemptFailed:
        """An input that is no conversation: PROVIDER_INPUT, which chat clients look for."""
        return refused_input(message, ctx_log, handler=self.id, provider=self.provider)


def refused_input(message: str, log: Log, *, handler: str, provider: str) -> AttemptFailed:
    """The failure of an input that is no conversation."""
    return _told(Fault(errors.PROVIDER_INPUT, message).as_failure(), log, handler=handler, provider=provider)


@contextmanager
def telling(log: Log, *, handler: str, provider: str) -> Iterator[None]:
    """Turn whatever is raised into the end of the attempt, and note it in the job's log as clients look for it."""
    try:
        yield
    except Exception as error:
        raise _told(_failure_of(error, provider), log, handler=handler, provider=provider) from error


def _failure_of(error: Exception, provider: str) -> AttemptFailed:
    if isinstance(error, AttemptFailed):
        return error
    if not isinstance(error, Fault):
        logger.error("the %s provider raised", provider, exc_info=error)
        error = Fault(errors.PROVIDER_ERROR, str(error) or type(error).__name__, _system_code(error))
    return error.as_failure()


def _system_code(error: Exception) -> dict[str, str] | None:
    code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return {"errno": code} if code else None


def _told(failure: AttemptFailed, log: Log, *, handler: str, provider: str) -> AttemptFailed:
    details = {name: value for name, value in (failure.details or {}).items() if name != "partial_text"}
    facts = {"code": failure.code.name, "details": details or None, "error": failure.message}
    log("Provider-backed handler failed", "error", handler=handler, provider=provider, **facts)
    return failure


def completed_meta(handler: str, output: ChatOutput, **facts: Any) -> dict[str, Any]:
    """The meta of the line that tells of success (contract 4.7): all its keys, null where they say nothing."""
    context, written = output.memory_context or {}, output.memory_write or {}
    return {
        "handler": handler,
        "provider": output.provider,
        "model": output.model,
        "local_provider": facts.get("local_provider"),
        "command_preview": facts.get("command_preview"),
        "auth_mode": facts.get("auth_mode"),
        "memory_scope": context.get("scope"),
        "memory_matches": context.get("match_count"),
        "memory_write_scope": written.get("scope"),
        "memory_write_key": written.get("key"),
    }


class CodexOutput(ChatOutput):
    """The agent's last message, and how it was run."""

    local_provider: str | None = None
    command_preview: str
    codex_home: str
    transient_retries: int
    auth_mode: str | None = None
    raw_events_count: int


class CodexChat(Handler[ChatInput, CodexOutput]):
    """Answers through the Codex command-line program, which may change files in the directory it works in."""

    id = "builtin:provider.codex.oss.chat"
    Input = ChatInput
    Output = CodexOutput
    needs = Needs(network=True, shell=True, files=True)  # noqa: S604 - tells of a need, starts nothing
    checks_input_at_creation = False
    provider = "codex-oss"

    def run(self, ctx: JobContext[ChatInput]) -> CodexOutput:
        """Fails with one of PROVIDER_*."""
        ctx.log("Starting provider-backed handler", handler=self.id)
        with telling(ctx.log, handler=self.id, provider=self.provider):
            prompt_of(ctx.input)
        remembering = Remembering.begin(ctx.input, ctx.log)
        with telling(ctx.log, handler=self.id, provider=self.provider):
            output = self._answer(ctx, remembering)
        output = remembering.end(output, ctx.job_id, ctx.log)
        facts = output.model_dump(include={"local_provider", "command_preview", "auth_mode"})
        ctx.log("Provider-backed handler completed", **completed_meta(self.id, output, **facts))
        return output

    def _answer(self, ctx: JobContext[ChatInput], remembering: Remembering) -> CodexOutput:
        prompt = prompt_of(remembering.given)
        codex = Codex.prepare()
        bill = Bill()
        run = self._run(ctx, codex, prompt, bill)
        return CodexOutput(
            provider=codex.name,
            model=codex.model,
            output_text=run.text,
            finish_reason="stop",
            usage=bill.as_json() if run.usage else None,
            untrusted_sources=remembering.untrusted + ["codex's own tools"] * run.used_tools or None,
            local_provider=codex.local_provider if codex.mode == "oss" else None,
            command_preview=codex.preview(prompt),
            codex_home=str(codex.home),
            transient_retries=run.retries,
            auth_mode=codex.auth_mode,
            raw_events_count=run.events,
        )

    def _run(self, ctx: JobContext[ChatInput], codex: Codex, prompt: str, bill: Bill) -> Run:
        owner = ledger.owner_of(ctx.job_id, thread=ctx.input.thread or "", deadline_at=ctx.deadline)
        request = Request(messages=[{"role": "user", "content": prompt}])
        call = ledger.begin(owner, codex.name, codex.model, request, bounded=codex.capabilities.bounded, default_max=0)
        began, error_code, usage = time.monotonic(), errors.JOB_CANCELLED.name, ledger.estimate(request, "")
        try:
            run = codex.answer(prompt, ctx.run_process, emit=ctx.emit, remaining_sec=ctx.remaining_sec)
            error_code, usage = "", run.usage or ledger.estimate(request, run.text)
        except Fault as fault:
            error_code = fault.code.name
            if fault.code in NOT_STARTED:
                usage = Usage(0, 0)
            raise
        except Exception:
            error_code = errors.PROVIDER_ERROR.name
            raise
        finally:
            latency_ms = round((time.monotonic() - began) * 1000)
            bill.add(usage, ledger.settle(call.id, usage, latency_ms=latency_ms, error_code=error_code))
        return run

    def on_invalid_input(self, ctx_log: Any, message: str) -> AttemptFailed:
        """An input that is no conversation: PROVIDER_INPUT."""
        return refused_input(message, ctx_log, handler=self.id, provider=self.provider)


class OpenAIChat(ChatHandler):
    """Answers through an OpenAI-compatible service."""

    id = "builtin:provider.openai.chat"
    provider = "openai"


class AnthropicChat(ChatHandler):
    """Answers through Anthropic."""

    id = "builtin:provider.anthropic.chat"
    provider = "anthropic"


class OllamaChat(ChatHandler):
    """Answers through Ollama."""

    id = "builtin:provider.ollama.chat"
    provider = "ollama"


HANDLERS = (CodexChat, OpenAIChat, AnthropicChat, OllamaChat, *mcp_handlers.HANDLERS)
