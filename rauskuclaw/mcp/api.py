"""Calling `/v1` for a tool or a resource, and its answer as the text that a model reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

import httpx

from rauskuclaw.mcp.tools import RESOURCES, ResourceKind, Tool

SCHEME = "rauskuclaw://"


class CallFailed(Exception):
    """An answer that is no success, or none. The text is what clients of the first server know."""

    def __init__(self, code: str, message: str, details: Any = None) -> None:
        more = f"\n{_pretty(details)}" if details is not None else ""
        super().__init__(f"{code} - {message}{more}")


class Api:
    """One server, as one key sees it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def run(self, tool: Tool, given: Mapping[str, Any]) -> str:
        """A heading and what came back. Raises CallFailed."""
        arguments = _with_defaults(tool, given)
        if tool.name == "memory_reset" and arguments.get("confirm") is not True:
            raise CallFailed("CONFIRMATION_REQUIRED", "memory_reset deletes for good: send confirm: true.")
        query = {name: _as_query(arguments[name]) for name in _placed(tool, "query", arguments)}
        body = {name: arguments[name] for name in _placed(tool, "body", arguments)} | dict(tool.fixed)
        path = tool.path.format(**{name: _segment(arguments[name]) for name in _placed(tool, "path", arguments)})
        answer = await self._ask(tool.method, path, query, body if tool.method in {"POST", "PUT", "PATCH"} else None)
        shown = {key: _only(answer.get(key), tool.only) for key in tool.shown}
        return f"{tool.description}\n{_pretty(shown[tool.shown[0]] if len(shown) == 1 else shown)}"

    async def read(self, uri: str) -> tuple[str, str]:
        """The text of a resource and its MIME type. Raises CallFailed."""
        kind, named = _resource(uri)
        parts = {name: _escaped(kind, name, text) for name, text in named.items()}
        answer = await self._ask("GET", kind.path.format(**parts))
        found = answer.get(kind.shown)
        if kind.mime == "text/plain":
            return str((found or {}).get("content", "")), kind.mime
        if kind.shown == "memories" and not found:
            raise CallFailed("NOT_FOUND", "There is no such memory.")
        return _pretty(found), kind.mime

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, params=query or None, json=body)
        except httpx.HTTPError as error:
            raise CallFailed("NETWORK_ERROR", str(error) or type(error).__name__) from None
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and answer.get("ok") is True:
            return answer
        fault = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(fault, dict) or "code" not in fault:
            raise CallFailed("API_ERROR", f"HTTP {response.status_code}")
        raise CallFailed(str(fault["code"]), str(fault.get("message", "")), fault.get("details"))


def _with_defaults(tool: Tool, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in given if name not in tool.params]
    missing = [name for name, param in tool.params.items() if param.required and name not in given]
    if unknown or missing:
        what = [*(f"{name} is required" for name in missing), *(f"{name} is no argument" for name in unknown)]
        raise CallFailed("VALIDATION_ERROR", f"{tool.name}: {'; '.join(what)}.")
    defaults = {name: param.schema["default"] for name, param in tool.params.items() if "default" in param.schema}
    sent = {name: value for name, value in given.items() if value is not None or tool.params[name].required}
    return {**defaults, **sent}


def _placed(tool: Tool, place: str, arguments: Mapping[str, Any]) -> list[str]:
    return [name for name, param in tool.params.items() if param.place == place and name in arguments]


def _segment(value: Any) -> str:
    """One part of a path: nothing in it leads to another route."""
    text = quote(str(value), safe="")
    if text.strip(".") == "":
        raise CallFailed("VALIDATION_ERROR", f"{value!r} is no id.")
    return text


def _as_query(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _only(value: Any, names: tuple[str, ...]) -> Any:
    if not names:
        return value
    if isinstance(value, list):
        return [_only(item, names) for item in value]
    return {name: value[name] for name in names if name in value} if isinstance(value, Mapping) else value


_WHOLE = {"path", "key"}
"""What may have slashes in it."""


def _resource(uri: str) -> tuple[ResourceKind, dict[str, str]]:
    for kind in RESOURCES:
        if found := _pattern(kind).fullmatch(uri):
            return kind, {name: unquote(text) for name, text in found.groupdict().items()}
    raise CallFailed("NOT_FOUND", f"There is no resource {uri}.")


@cache
def _pattern(kind: ResourceKind) -> re.Pattern[str]:
    def group(match: re.Match[str]) -> str:
        return f"(?P<{match[1]}>{'.+' if match[1] in _WHOLE else '[^/]+'})"

    return re.compile(re.escape(SCHEME) + re.sub(r"\\{(\w+)\\}", group, re.escape(kind.uri)))


def _escaped(kind: ResourceKind, name: str, text: str) -> str:
    return quote(text, safe="") if f"={{{name}}}" in kind.path else _segment(text)


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
