"""BERT's uncased tokenizer: split at blanks and punctuation, then the longest pieces that the vocabulary has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

MAX_WORD_CHARS = 100
"""A longer word is unknown."""
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Ideographs: each is a word."""


class WordPiece:
    """Text to token ids."""

    def __init__(self, vocabulary: Path) -> None:
        lines = vocabulary.read_text("utf-8").split("\n")
        self._ids = {token: number for number, token in enumerate(lines) if token}
        self._begin, self._end, self._unknown = (self._ids[name] for name in ("[CLS]", "[SEP]", "[UNK]"))
        self._pieces = lru_cache(50_000)(self._split)

    def __call__(self, text: str, max_tokens: int) -> list[int]:
        """Ids of the first `max_tokens` tokens, with the marks of beginning and end among them."""
        ids: list[int] = []
        for word in _words(text):
            ids += self._pieces(word)
            if len(ids) >= max_tokens - 2:
                break
        return [self._begin, *ids[: max_tokens - 2], self._end]

    def _split(self, word: str) -> list[int]:
        if len(word) > MAX_WORD_CHARS:
            return [self._unknown]
        found, begin = [], 0
        while begin < len(word):
            ends = range(len(word), begin, -1)
            prefix = "##" if begin else ""
            end = next((end for end in ends if prefix + word[begin:end] in self._ids), None)
            if end is None:
                return [self._unknown]
            found.append(self._ids[prefix + word[begin:end]])
            begin = end
        return found


def _words(text: str) -> Iterator[str]:
    spaced = "".join(_spaced(character) for character in text).lower()
    plain = (it for it in unicodedata.normalize("NFD", spaced) if unicodedata.category(it) != "Mn")
    yield from "".join(f" {it} " if _is_punctuation(it) else it for it in plain).split()


def _spaced(character: str) -> str:
    code = ord(character)
    if character in "\t\n\r":
        return " "
    category = unicodedata.category(character)
    if code in {0, 0xFFFD} or category[0] == "C":
        return ""
    if character.isspace() or category == "Zs":
        return " "
    return f" {character} " if any(low <= code <= high for low, high in _CJK) else character


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    ascii_marks = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_marks or unicodedata.category(character)[0] == "P"
