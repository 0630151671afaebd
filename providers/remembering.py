"""What memory gives to a chat job, and keeps of it (contract 8.4, 8.5)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from jobs.models import Job
from memory import context, write_back
from memory.context import Log
from memory.write_back import Said, WriteBack
from providers.conversation import ChatInput
from providers.output import ChatOutput

OutputT = TypeVar("OutputT", bound=ChatOutput)


@dataclass(frozen=True)
class Remembering:
    """Between the question and the answer. given: the input, with what memory had for it."""

    given: ChatInput
    context: dict[str, Any] | None
    wanted: WriteBack | None
    has_untrusted: bool = False
    """Whether memory gave anything that nobody vouches for."""

    @property
    def untrusted(self) -> list[str]:
        """What came from outside into what is to be asked."""
        outside = {"the conversation so far": self.given.untrusted_text, "memory": self.has_untrusted}
        return [name for name, is_so in outside.items() if is_so]

    @classmethod
    def begin(cls, given: ChatInput, log: Log, *, state: Mapping[str, Any] | None = None) -> Self:
        """Look up what the input asks for; once for a job, so not where it goes on after its tools, from `state`.

        Raises AttemptFailed MEMORY_CONTEXT_* or MEMORY_WRITE_INPUT.
        """
        wanted = write_back.parse(given.memory_write)
        if state is not None:
            return cls(given, state["memory_context"], wanted)
        attached = context.attach(given.memory, prompt=given.prompt, messages=given.messages, log=log)
        read = given.model_copy(update={"prompt": attached.prompt, "messages": attached.messages})
        return cls(read, attached.metadata, wanted, attached.has_untrusted)

    def end(self, output: OutputT, job_id: uuid.UUID, log: Log) -> OutputT:
        """Keep the answer, if the input asks for that. Raises AttemptFailed MEMORY_WRITE_UNAVAILABLE."""
        written = None
        if self.wanted is not None:
            job_type = Job.objects.values_list("type", flat=True).get(pk=job_id)
            said = Said(output.output_text, job_id, job_type, output.provider, output.model)
            written = write_back.save(self.wanted, said, log=log)
        return output.model_copy(update={"memory_context": self.context, "memory_write": written})
