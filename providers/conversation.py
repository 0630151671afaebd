"""What a chat job is given, and the conversation that it becomes (contract 7.1, 7.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool

from jobs.handlers.fields import ObjectInput
from providers.base import Message
from providers.faults import Fault
from rauskuclaw import errors

ROLES = frozenset({"system", "user", "assistant", "tool"})
FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _number_or_none(value: object) -> object:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _positive_or_none(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


class ChatInput(ObjectInput):
    """A conversation for a language model. Fields of other versions pass unread."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Name three uses of a job queue.", "system": "Answer in one sentence."},
                {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.2, "max_tokens": 200},
                {"prompt": "What does our README promise?", "agent_tools": True},
            ]
        }
    )

    prompt: str | None = Field(None, description="The user's text. Codex also reads it beside `messages`.")
    system: str | None = Field(None, description="Instructions that stand before the conversation.")
    messages: list[Any] | None = Field(
        None, max_length=2000, description="History: `{role, content}`, roles system, user, assistant and tool."
    )
    memory: Any = Field(None, description="What to look up in the memory first; false or an object.")
    memory_write: Any = Field(None, description="Where to keep the answer in the memory.")
    temperature: Annotated[float | None, BeforeValidator(_number_or_none)] = Field(
        None, description="How freely the model writes; 0 is most predictable."
    )
    max_tokens: Annotated[int | None, BeforeValidator(_positive_or_none)] = Field(
        None, description="Longest answer, in tokens."
    )
    tools: list[Any] | None = Field(
        None, max_length=128, description="Functions the model may call, as OpenAI has them."
    )
    tool_choice: Any = Field(None, description="Whether and which function it must call: auto, none, required, or one.")
    agent_tools: StrictBool = Field(
        False, description="Give it the tools of `GET /v1/agent-tools`, where `tools` names none."
    )
    repo_context: Any = Field(
        None, description="Which files of the workspace go before the conversation: each is on unless it is false."
    )
    skip_repo_context: StrictBool = Field(False, description="None of them does.")
    untrusted_text: StrictBool = Field(
        False,
        description="It holds text from outside that may give orders: some tools then wait for a person's approval.",
    )
    thread: str | None = Field(None, max_length=120, description="The thread it belongs to, for its budget and usage.")

    @property
    def has_question(self) -> bool:
        """Whether there is anything to answer."""
        return bool((self.prompt or "").strip() or self.messages)


def conversation(given: ChatInput) -> list[Message]:
    """The messages to send. With `messages`, `prompt` is not read (contract 7.2). Raises Fault PROVIDER_INPUT."""
    if given.messages:
        found = [message for entry in given.messages if (message := _message(entry)) is not None]
        if not found:
            raise Fault(errors.PROVIDER_INPUT, "`messages` holds no message with a known role and a content")
        if given.system and found[0] != (system := {"role": "system", "content": given.system}):
            found.insert(0, system)
        return found
    if not (given.prompt or "").strip():
        raise Fault(errors.PROVIDER_INPUT, "the input needs `prompt` or `messages`")
    system_first = [{"role": "system", "content": given.system}] if given.system else []
    return [*system_first, {"role": "user", "content": given.prompt}]


def _message(entry: Any) -> Message | None:
    """An entry of `messages`, cleaned of other fields; None for one that says nothing."""
    if not isinstance(entry, Mapping):
        return None
    role = entry.get("role") or "user"
    if role not in ROLES:
        return None
    kept = {"role": role, "content": entry.get("content")}
    for name in ("name", "tool_calls", "tool_call_id"):
        if entry.get(name):
            kept[name] = entry[name]
    if role == "tool":
        return kept if kept.get("tool_call_id") else None
    content = kept["content"]
    says = content.strip() if isinstance(content, str) else isinstance(content, list) and content
    return kept if says or kept.get("tool_calls") else None


def _check_tools(given: ChatInput) -> None:
    """Raise Fault PROVIDER_INPUT for a function of the input whose name no provider takes."""
    for number, tool in enumerate(given.tools or ()):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
            raise Fault(errors.PROVIDER_INPUT, f"tools[{number}] needs function.name: 1 to 64 of a-z A-Z 0-9 _ -")


def check(given: ChatInput) -> None:
    """Raise the Fault PROVIDER_INPUT of an input that cannot be asked, before anything else is done for it."""
    conversation(given)
    _check_tools(given)


def choice_of(given: ChatInput) -> Any:
    """Which function is to be called: a word in lower case, or an object as it is."""
    choice = given.tool_choice
    return choice.strip().lower() or None if isinstance(choice, str) else choice
