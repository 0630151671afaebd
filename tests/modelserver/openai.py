"""OpenAI: `/v1/chat/completions`, `/v1/embeddings`, `/v1/models`."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.modelserver.script import Reply, StreamError, ToolCall, Usage
from tests.modelserver.wire import Item, Protocol, event, texts_of, vector_of

ID = "chatcmpl-stand-in"
KINDS = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


class OpenAI(Protocol):
    def key_of(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def whole(self, reply: Reply, model: str) -> Any:
        calls = [_call(it) for it in reply.tool_calls]
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": reply.finish}
        return {**_head("chat.completion", model), "choices": [choice], "usage": _usage(reply.usage)}

    def stream(self, reply: Reply, model: str, body: Mapping[str, Any]) -> Iterator[Item]:
        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return event({**_head("chat.completion.chunk", model), "choices": [choice], "usage": None})

        yield chunk({"role": "assistant", "content": ""})
        calls = iter(enumerate(reply.tool_calls))
        for piece in reply.pieces:
            if isinstance(piece, str):
                yield chunk({"content": piece})
            elif isinstance(piece, ToolCall):
                index, call = next(calls)
                text = call.arguments_text
                yield chunk({"tool_calls": [{"index": index, **_call(call), "function": _function(call.name, "")}]})
                for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                    yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            elif isinstance(piece, StreamError):
                yield event({"error": {"message": piece.message, "type": "server_error", "code": None}})
                return
            else:
                yield piece
        yield chunk({}, reply.finish)
        if reply.usage and (body.get("stream_options") or {}).get("include_usage"):
            yield event({**_head("chat.completion.chunk", model), "choices": [], "usage": _usage(reply.usage)})
        yield event("[DONE]")

    def error(self, status: int, message: str) -> Any:
        code = KINDS.get(status, "server_error")
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}

    def models(self, names: Sequence[str]) -> Any:
        listed = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "stand-in"} for name in names]
        return {"object": "list", "data": listed}

    def embeddings(self, body: Mapping[str, Any], dimensions: int) -> Any:
        vectors = [vector_of(text, body.get("dimensions") or dimensions) for text in texts_of(body)]
        in_base64 = body.get("encoding_format") == "base64"
        listed = [
            {"object": "embedding", "index": n, "embedding": _base64(vector) if in_base64 else vector}
            for n, vector in enumerate(vectors)
        ]
        return {
            "object": "list",
            "data": listed,
            "model": body["model"],
            "usage": {"prompt_tokens": 8 * len(listed), "total_tokens": 8 * len(listed)},
        }


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": ID, "object": kind, "created": 1_700_000_000, "model": model}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": _function(call.name, call.arguments_text)}


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _usage(usage: Usage | None) -> Any:
    return usage and {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


PROTOCOL = OpenAI()
