"""What a memory says as text: to the embedding model, and to text search."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jobs.storable import text

MAX_EMBEDDED_CHARS = 16_000
"""More than any of the models reads."""
MAX_WORDS_CHARS = 100_000
"""A text search vector may have 1 MB."""
_SEPARATORS = re.compile(r"[._:/]+")


def embedded_text(*, scope: str, key: str, tags: Sequence[str], value: Any) -> str:
    """The four lines that are embedded (contract 8.2), cut to MAX_EMBEDDED_CHARS."""
    lines = f"scope:{scope}", f"key:{key}", f"tags:{canonical(list(tags))}", f"value:{canonical(value)}"
    return "\n".join(lines)[:MAX_EMBEDDED_CHARS]


def searched_words(*, key: str, tags: Sequence[str], value: Any) -> str:
    """What text search reads: the key's parts, the tags, and every name, text and number in the value."""
    # Postgres would take `deploy.key` for the name of a host, one word.
    found = [_SEPARATORS.sub(" ", key), *tags, *_texts(value)]
    return text("\n".join(found), max_chars=MAX_WORDS_CHARS)


def canonical(value: Any) -> str:
    """JSON without spaces, its keys sorted."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield _SEPARATORS.sub(" ", str(name))
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
