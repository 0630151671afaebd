"""Rounds of tool calls: the model asks for tools, they run as jobs of their own, and it is asked again (contract 7.2).

The chat job does not wait for them in a worker. Each round ends its attempt with `ctx.spawn`; when the tools have ended
it goes on from `Dialogue`, which is all that must be remembered. So a round survives the death of any worker.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from jobs.handlers.base import Child, ChildResult
from jobs.models import Job
from memory.context import Log
from providers import repo_context, tools
from providers.answer import Answer
from providers.base import Message, ToolCall, Usage
from providers.conversation import conversation
from providers.faults import Fault
from providers.mcp import tools as mcp
from providers.money import amount
from providers.paying import Bill
from providers.remembering import Remembering
from providers.tools import TOOLS, ToolRefused
from rauskuclaw import errors

MAX_CALLS = 20
"""In one round; the model is told of the others that they were not made."""
MAX_IDLE_ROUNDS = 2
"""Rounds that asked for the same and got the same: after so many in a row, nothing will change."""


@dataclass
class Dialogue:
    """A conversation between rounds."""

    messages: list[Message]
    tools: list[Any]
    memory_context: dict[str, Any] | None = None
    rounds: int = 0
    idle_rounds: int = 0
    last_round: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    pending: list[dict[str, Any]] = field(default_factory=list)
    """Of the round under way: id and function of each call; `payload` of those that were refused."""
    untrusted: list[str] = field(default_factory=list)
    """What came into the conversation from outside: nobody vouches for it, and it may try to give orders."""
    denied: list[list[str]] = field(default_factory=list)
    """Calls, as function and arguments, that nobody approved: nobody is asked twice."""
    served: list[str] = field(default_factory=list)
    """Functions that are tools of MCP servers."""
    bill: Bill = field(default_factory=Bill)

    @classmethod
    def begin(cls, remembering: Remembering, log: Log) -> Self:
        """A new one, with the tools that the input asks for. Reads the database."""
        given = remembering.given
        given_tools = list(given.tools or ())
        if given.agent_tools and not given_tools:
            given_tools = tools.specs(tools.offered())
            if given_tools:
                log("Agent tool calling enabled", tool_count=len(given_tools))
            else:
                log("Agent tool calling requested but no runtime-enabled tools available", "warn")
        messages = repo_context.in_front(conversation(given), given)
        has_results = any(message["role"] == "tool" for message in messages)
        untrusted = remembering.untrusted + ["results of tools"] * has_results
        served = mcp.known(tool["function"]["name"] for tool in given_tools)
        return cls(messages, given_tools, remembering.context, untrusted=untrusted, served=served)

    @classmethod
    def resume(cls, state: dict[str, Any], children: Sequence[ChildResult]) -> Self:
        """One that goes on after its tools. Raises Fault AGENT_LOOP."""
        usage, cost = state.pop("usage"), state.pop("cost_usd")
        bill = Bill(usage and Usage(**usage), None if cost is None else Decimal(cost))
        # A state that was saved before conversations noted it does not say what came from outside.
        dialogue = cls(**{"untrusted": ["the conversation so far"], **state}, bill=bill)
        ended = iter(children)
        for call in dialogue.pending:
            payload = call.get("payload")
            if payload is None:
                child = next(ended)
                payload = _payload_of(child)
                call["job_id"] = str(child.job_id)
                dialogue._note_child(call, child)
            dialogue._add_result(call, payload)
        dialogue._look_for_progress()
        dialogue.pending = []
        return dialogue

    def as_state(self) -> dict[str, Any]:
        """What `ctx.spawn` is to remember."""
        usage = self.bill.usage
        return {
            "messages": list(self.messages),
            "tools": self.tools,
            "memory_context": self.memory_context,
            "rounds": self.rounds,
            "idle_rounds": self.idle_rounds,
            "last_round": self.last_round,
            "calls": self.calls,
            "pending": self.pending,
            "untrusted": self.untrusted,
            "denied": self.denied,
            "served": self.served,
            "usage": usage and dict(usage.__dict__),
            "cost_usd": None if self.bill.cost_usd is None else amount(self.bill.cost_usd),
        }

    def wants_tools(self, answer: Answer) -> bool:
        """Whether calls of an answer are for us to make: not those of functions that only the caller knows."""
        own = {tool["function"]["name"] for tool in self.tools} - TOOLS.keys() - set(self.served)
        return bool(answer.calls) and not any(call.name in own for call in answer.calls)

    def start_round(self, answer: Answer, job_id: uuid.UUID, log: Log) -> list[Child]:
        """Note the calls of a round; those that may be made, as jobs. job_id: of the chat. Reads the database."""
        created_by = Job.objects.values_list("created_by", flat=True).get(pk=job_id)
        self.rounds += 1
        log("Provider returned tool calls", round=self.rounds, tool_call_count=len(answer.calls))
        self.messages = [*self.messages, answer.as_message()]
        self.pending, children = [], []
        for number, call in enumerate(answer.calls):
            entry: dict[str, Any] = {
                "id": call.id,
                "function": call.name,
                "arguments": call.arguments,
                "job_type": None,
            }
            try:
                if number >= MAX_CALLS:
                    raise ToolRefused("TOOL_EXEC_ERROR", f"at most {MAX_CALLS} calls are made in one round")
                children.append(self._child(call, entry, created_by, log))
            except ToolRefused as refused:
                entry["payload"] = tools.error_payload(refused.code, refused.message)
            self.pending.append(entry)
        return children

    def end_round_without_jobs(self) -> None:
        """All calls were refused: the model is told at once. Raises Fault AGENT_LOOP."""
        for call in self.pending:
            self._add_result(call, call["payload"])
        self._look_for_progress()
        self.pending = []

    def execution_json(self, max_rounds: int) -> dict[str, Any] | None:
        """`tool_execution` of the result."""
        if not self.calls:
            return None
        return {"rounds": self.rounds, "max_rounds": max_rounds, "call_count": len(self.calls), "calls": self.calls}

    def _child(self, call: ToolCall, entry: dict[str, Any], created_by: str, log: Log) -> Child:
        if [call.name, _canonical(call.arguments)] in self.denied:
            raise ToolRefused(errors.APPROVAL_DENIED.name, "this very call was not approved before")
        wanted = tools.checked(call.name, call.arguments)
        entry["job_type"] = wanted.tool.job_type
        approval = wanted.approval(untrusted=self.untrusted, by=created_by)
        log("Executing agent tool call", function=call.name, job_type=wanted.tool.job_type, call_id=call.id)
        return Child(
            type=wanted.tool.job_type, input=wanted.input, name=call.name, tags=["agent-tool"], approval=approval
        )

    def _note_child(self, call: dict[str, Any], child: ChildResult) -> None:
        """What a call has changed for those after it."""
        if (child.error or {}).get("code") in {errors.APPROVAL_DENIED.name, errors.APPROVAL_EXPIRED.name}:
            self.denied.append([call["function"], _canonical(call["arguments"])])
        elif tools.is_outside(call["function"]) and call["function"] not in self.untrusted:
            self.untrusted.append(call["function"])

    def _add_result(self, call: dict[str, Any], payload: dict[str, Any]) -> None:
        content = json.dumps(payload, ensure_ascii=False)
        message = {"role": "tool", "tool_call_id": call["id"], "name": call["function"], "content": content}
        self.messages = [*self.messages, message]
        call["content"] = content
        self.calls.append(
            {
                "id": call["id"],
                "function": call["function"],
                "job_type": call["job_type"],
                "job_id": call.get("job_id"),
                "ok": payload["ok"],
                "error": payload.get("error"),
            }
        )

    def _look_for_progress(self) -> None:
        told = json.dumps([[call["function"], call["arguments"], call["content"]] for call in self.pending])
        self.idle_rounds = self.idle_rounds + 1 if told == self.last_round else 0
        self.last_round = told
        if self.idle_rounds >= MAX_IDLE_ROUNDS:
            raise Fault(
                errors.AGENT_LOOP,
                f"the model asked for the same in {self.idle_rounds + 1} rounds, and got the same",
                {"rounds": self.rounds, "functions": [call["function"] for call in self.pending]},
            )


def _canonical(arguments: str) -> str:
    """The same for arguments that are the same JSON. What is none is refused anyway."""
    with suppress(ValueError, RecursionError):
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    return arguments


def _payload_of(child: ChildResult) -> dict[str, Any]:
    if child.succeeded:
        return tools.result_payload(child.result)
    error = child.error or {}
    return tools.error_payload(
        str(error.get("code") or "TOOL_EXEC_ERROR"), str(error.get("message") or f"the job was {child.status}")
    )
