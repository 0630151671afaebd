"""Ollama: `/api/chat`, `/api/embed`, `/api/tags`. Its streams are JSON lines, and its calls of tools have no ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.modelserver.script import Reply, StreamError, ToolCall
from tests.modelserver.wire import Item, Protocol, texts_of, vector_of

AT = "2026-01-01T00:00:00Z"


class Ollama(Protocol):
    wants_key = False
    stream_type = "application/x-ndjson"

    def key_of(self, headers: Mapping[str, str]) -> str:
        return ""

    def streams(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream", True))

    def whole(self, reply: Reply, model: str) -> Any:
        return _last(model, reply, {"content": reply.text, **_calls(reply.tool_calls)})

    def stream(self, reply: Reply, model: str, body: Mapping[str, Any]) -> Iterator[Item]:
        calls = iter(reply.tool_calls)
        for piece in reply.pieces:
            if isinstance(piece, str):
                yield _line(_part(model, {"content": piece}))
            elif isinstance(piece, ToolCall):
                yield _line(_part(model, {"content": "", **_calls([next(calls)])}))
            elif isinstance(piece, StreamError):
                yield _line({"error": piece.message})
                return
            else:
                yield piece
        yield _line(_last(model, reply, {"content": ""}))

    def error(self, status: int, message: str) -> Any:
        return {"error": message}

    def models(self, names: Sequence[str]) -> Any:
        details = {"format": "gguf", "family": "stand-in", "parameter_size": "1B", "quantization_level": "Q8_0"}
        listed = [
            {"name": name, "model": name, "modified_at": AT, "size": 1, "digest": "0" * 64, "details": details}
            for name in names
        ]
        return {"models": listed}

    def embeddings(self, body: Mapping[str, Any], dimensions: int) -> Any:
        texts = texts_of(body)
        vectors = [vector_of(text, body.get("dimensions") or dimensions) for text in texts]
        return {
            "model": body["model"],
            "embeddings": vectors,
            "total_duration": 1,
            "load_duration": 1,
            "prompt_eval_count": 8 * len(texts),
        }


def _calls(calls: Sequence[ToolCall]) -> dict[str, Any]:
    if not calls:
        return {}
    return {"tool_calls": [{"function": {"name": it.name, "arguments": json.loads(it.arguments_text)}} for it in calls]}


def _part(model: str, message: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "created_at": AT, "message": {"role": "assistant", **message}, "done": False}


def _last(model: str, reply: Reply, message: Mapping[str, Any]) -> dict[str, Any]:
    counts = {} if reply.usage is None else {
        "prompt_eval_count": reply.usage.prompt, "eval_count": reply.usage.completion,
    }  # fmt: skip
    reason = "length" if reply.finish == "length" else "stop"
    return {**_part(model, message), "done": True, "done_reason": reason, "total_duration": 1, **counts}


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


PROTOCOL = Ollama()
