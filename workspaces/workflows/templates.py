"""`${param}` and `${step.path.to.field}` in the inputs of steps (contract 12.4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

_TEMPLATE = re.compile(r"\$\{([^{}]*)\}")


def steps_named(value: Any, step_ids: Sequence[str]) -> set[str]:
    """Whose results the templates in a value ask for."""
    expressions = {match[1].strip() for text in _texts(value) for match in _TEMPLATE.finditer(text)}
    return {id_ for it in expressions if (id_ := _step_of(it, step_ids)) is not None}


def render(value: Any, params: Mapping[str, Any], results: Mapping[str, Any]) -> Any:
    """The value with its templates filled in. A text that is one template becomes what it names, of whatever type.

    results: of each step that has succeeded, by id. What names nothing, or null, is the empty text.
    """

    def filled(text: str) -> Any:
        if whole := _TEMPLATE.fullmatch(text):
            found = _look_up(whole[1].strip(), params, results)
            return "" if found is None else found
        return _TEMPLATE.sub(lambda match: _as_text(_look_up(match[1].strip(), params, results)), text)

    return _mapped(value, filled)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for content in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(content)


def _mapped(value: Any, change: Callable[[str], Any]) -> Any:
    """A copy of a JSON value with each text in it changed; keys are left alone."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _mapped(content, change) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(content, change) for content in value]
    return value


def _look_up(expression: str, params: Mapping[str, Any], results: Mapping[str, Any]) -> Any:
    if expression in params:
        return params[expression]
    step_id = _step_of(expression, results)
    if step_id is not None:
        return _at(results[step_id], expression[len(step_id) + 1 :])
    name, _, path = expression.partition(".")
    return _at(params[name], path) if name in params else None


def _step_of(expression: str, step_ids: Iterable[str]) -> str | None:
    """The step that an expression begins with. Ids may have dots in them, so the longest one counts."""
    fitting = [id_ for id_ in step_ids if expression == id_ or expression.startswith(f"{id_}.")]
    return max(fitting, key=len, default=None)


def _at(value: Any, path: str) -> Any:
    """What is at `a.b.0` in a JSON value; None where there is nothing."""
    for part in path.split(".") if path else []:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
