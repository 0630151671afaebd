"""The two chat handlers (contract 7.1). No provider is installed in this version, so they are switched off."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from jobs.handlers.base import AttemptFailed, Handler, JobContext, Needs
from jobs.handlers.fields import ObjectInput
from rauskuclaw import errors


class ChatInput(ObjectInput):
    """A conversation for a language model. Fields of other versions pass unread."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Name three uses of a job queue.", "system": "Answer in one sentence."},
                {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.2, "max_tokens": 200},
            ]
        }
    )

    prompt: Any = Field(None, description="The user's text.")
    system: Any = Field(None, description="Instructions that stand before the conversation.")
    messages: Any = Field(None, description="History: a list of `{role, content}`.")
    memory: Any = Field(None, description="What to look up in the memory first; false or an object.")
    memory_write: Any = Field(None, description="Where to keep the answer in the memory.")
    temperature: Any = Field(None, description="How freely the model writes; 0 is most predictable.")
    max_tokens: Any = Field(None, description="Longest answer, in tokens.")
    tools: Any = Field(None, description="Functions the model may call.")
    tool_choice: Any = Field(None, description="Whether and which function it must call.")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer: no prompt and no messages."""
        return not (isinstance(self.prompt, str) and self.prompt.strip()) and not self.messages


class ChatOutput(BaseModel):
    """The model's answer."""

    provider: str
    model: str
    output_text: str
    usage: dict[str, Any] | None = None


class ChatHandler(Handler[ChatInput, ChatOutput]):
    """What the chat handlers share: how they fail while no provider is switched on."""

    Input = ChatInput
    Output = ChatOutput
    needs = Needs(network=True)
    checks_input_at_creation = False
    provider: ClassVar[str]
    """Name in logs, as the contract has it (4.7)."""

    def run(self, ctx: JobContext[ChatInput]) -> NoReturn:
        """Fails with PROVIDER_INPUT for a conversation without a question, else with PROVIDER_DISABLED."""
        ctx.log("Starting provider-backed handler", handler=self.id)
        if ctx.input.is_empty:
            raise self._failure(ctx.log, errors.PROVIDER_INPUT, "the input needs `prompt` or `messages`")
        raise self._failure(
            ctx.log, errors.PROVIDER_DISABLED, f"the {self.provider} provider is switched off on this server"
        )

    def on_invalid_input(self, ctx_log: Any, message: str) -> AttemptFailed:
        """An input that is no object: PROVIDER_INPUT, which chat clients look for."""
        return self._failure(ctx_log, errors.PROVIDER_INPUT, message)

    def _failure(self, log: Any, code: errors.Code, message: str) -> AttemptFailed:
        log(
            "Provider-backed handler failed",
            "error",
            handler=self.id,
            provider=self.provider,
            code=code.name,
            details=None,
            error=message,
        )
        return AttemptFailed(code, message)


class CodexChat(ChatHandler):
    """Answers through the Codex command-line program."""

    id = "builtin:provider.codex.oss.chat"
    provider = "codex-oss"


class OpenAIChat(ChatHandler):
    """Answers through an OpenAI-compatible service."""

    id = "builtin:provider.openai.chat"
    provider = "openai"


HANDLERS = (CodexChat, OpenAIChat)
