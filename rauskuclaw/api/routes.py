"""The API's routes as a tree: what a sloppily written path means, and which methods a path has (contract, section 0).

Routes without a final slash are the API's and take part; the admin's end with one and are left to Django.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, get_urlconf, resolve
from django.urls.resolvers import RoutePattern
from django.views import View


@dataclass
class _Node:
    """One segment of a path. `fixed` holds the literal children by lower-case name, `variable` the `<…>` one."""

    ends_here: bool = False
    fixed: dict[str, tuple[str, _Node]] = field(default_factory=dict)
    variable: _Node | None = None

    def grow(self, segments: list[str]) -> None:
        """Add a route."""
        if not segments:
            self.ends_here = True
        elif "<" in segments[0]:
            self.variable = self.variable or _Node()
            self.variable.grow(segments[1:])
        else:
            self.fixed.setdefault(segments[0].lower(), (segments[0], _Node()))[1].grow(segments[1:])

    def match(self, segments: list[str]) -> list[str] | None:
        """The segments as the route writes them, literal ones preferred; None when no route has this shape."""
        if not segments:
            return [] if self.ends_here else None
        written, node = self.fixed.get(segments[0].lower(), ("", None))
        if node and (rest := node.match(segments[1:])) is not None:
            return [written, *rest]
        if self.variable and segments[0] and (rest := self.variable.match(segments[1:])) is not None:
            return [segments[0], *rest]
        return None


def canonical(path: str) -> str:
    """The path in the route's own writing: case and one final slash are ignored, but never in an id or a name.

    A path that fits no route is returned as it is.
    """
    if path == path.lower() and not path.endswith("/"):
        return path
    segments = _tree(get_urlconf()).match(path.removeprefix("/").removesuffix("/").split("/"))
    return path if segments is None else "/" + "/".join(segments)


def allowed_methods(path: str) -> list[str] | None:
    """The methods of a path for the Allow header; None for an unknown path."""
    try:
        view: Any = resolve(path).func
    except Resolver404:
        return None
    view_class = getattr(view, "cls", None) or getattr(view, "view_class", None)
    names = set(getattr(view, "actions", None) or {})
    if not names:
        names = {name for name in View.http_method_names if hasattr(view_class, name)} if view_class else {"get"}
    if "get" in names:
        names.add("head")
    return [name.upper() for name in View.http_method_names if name in names | {"options"}]


@cache
def _tree(urlconf: str | None) -> _Node:
    root = _Node()
    for route in _routes(get_resolver(urlconf).url_patterns):
        if route and not route.endswith("/"):
            root.grow(route.split("/"))
    return root


def _routes(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for item in patterns:
        if not isinstance(item.pattern, RoutePattern):
            continue
        route = prefix + str(item.pattern)
        if isinstance(item, URLResolver):
            yield from _routes(item.url_patterns, route)
        else:
            yield route
