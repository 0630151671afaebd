"""Anthropic: `/v1/messages`, `/v1/models`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.modelserver.script import Reply, StreamError, ToolCall
from tests.modelserver.wire import Item, Protocol, event

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Anthropic(Protocol):
    def key_of(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")

    def whole(self, reply: Reply, model: str) -> Any:
        content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
        content += [
            {"type": "tool_use", "id": it.id, "name": it.name, "input": json.loads(it.arguments_text)}
            for it in reply.tool_calls
        ]
        usage = _usage(reply)
        return {**_message(model), "content": content, "stop_reason": STOP_REASONS[reply.finish], "usage": usage}

    def stream(self, reply: Reply, model: str, body: Mapping[str, Any]) -> Iterator[Item]:
        start = {**_message(model), "content": [], "stop_reason": None, "usage": {**_usage(reply), "output_tokens": 1}}
        yield event({"type": "message_start", "message": start}, "message_start")
        yield event({"type": "ping"}, "ping")
        index, in_text = -1, False
        calls = iter(reply.tool_calls)
        for piece in reply.pieces:
            if isinstance(piece, str | ToolCall) and (not in_text or isinstance(piece, ToolCall)):
                if index >= 0:
                    yield _block_event("stop", index)
                index += 1
            if isinstance(piece, str):
                if not in_text:
                    yield _block_event("start", index, content_block={"type": "text", "text": ""})
                yield _block_event("delta", index, delta={"type": "text_delta", "text": piece})
                in_text = True
            elif isinstance(piece, ToolCall):
                call, in_text = next(calls), False
                block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
                yield _block_event("start", index, content_block=block)
                text = call.arguments_text
                for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                    yield _block_event("delta", index, delta={"type": "input_json_delta", "partial_json": part})
            elif isinstance(piece, StreamError):
                fault = {"type": piece.kind, "message": piece.message}
                yield event({"type": "error", "error": fault}, "error")
                return
            else:
                yield piece
        if index >= 0:
            yield _block_event("stop", index)
        delta = {"stop_reason": STOP_REASONS[reply.finish], "stop_sequence": None}
        usage = {"output_tokens": _usage(reply)["output_tokens"]}
        yield event({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
        yield event({"type": "message_stop"}, "message_stop")

    def error(self, status: int, message: str) -> Any:
        return {"type": "error", "error": {"type": KINDS.get(status, "api_error"), "message": message}}

    def models(self, names: Sequence[str]) -> Any:
        listed = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"} for name in names
        ]
        return {"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def _message(model: str) -> dict[str, Any]:
    return {"id": "msg_stand_in", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached = {"cache_read_input_tokens": usage.cached, "cache_creation_input_tokens": 0}
    return {"input_tokens": usage.prompt - usage.cached, "output_tokens": usage.completion, **cached}


def _block_event(kind: str, index: int, **fields: Any) -> bytes:
    name = f"content_block_{kind}"
    return event({"type": name, "index": index, **fields}, name)


PROTOCOL = Anthropic()
