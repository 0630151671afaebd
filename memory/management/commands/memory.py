"""`manage.py memory`: look at scopes and models, search, forget, and have memories embedded again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count

from memory import queries, requests, search, spaces, store, upkeep
from memory.models import Space
from memory.representation import found_json, scope_json
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor
from rauskuclaw.operations.text import Cell, count, table

_STATE_COLOURS = {"active": "green", "building": "yellow", "retired": "dim"}
SHOWN_CHARS = 80


class Command(OperatorCommand):
    """The operator's way to the verbs of memory."""

    help = "List scopes and embedding models, search, forget a scope, embed again."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "scopes": "the scopes, last updated first",
                "models": "the embedding models, and how many vectors each has made",
                "search": "search a scope",
                "reset": "forget a scope; there is no way back",
                "reembed": "have memories embedded again: those that failed, or all",
            },
        )
        verbs["scopes"].add_argument("--limit", type=int, default=50, help="how many; default 50, at most 1000")
        verbs["search"].add_argument("scope")
        verbs["search"].add_argument("query")
        verbs["search"].add_argument("--mode", choices=["vector", "text", "hybrid"], default="hybrid")
        verbs["search"].add_argument("--top-k", type=int, default=10)
        verbs["reset"].add_argument("scope")
        which = verbs["reembed"].add_mutually_exclusive_group(required=True)
        which.add_argument("--failed", action="store_true", help="those that failed")
        which.add_argument(
            "--all", action="store_true", help="all: every vector of the model in use is forgotten first"
        )

    def _scopes(self, limit: int, **_: Any) -> Answer:
        found = queries.scopes(limit=min(max(1, limit), 1000))
        rows: list[tuple[str | Cell, ...]] = [
            (
                it.scope,
                *(Cell(f"{number:,}", right=True) for number in (it.total_count, it.pending_count)),
                Cell(f"{it.failed_count:,}", "red" if it.failed_count else "", right=True),
            )
            for it in found
        ]
        text = table(("scope", "memories", "pending", "failed"), rows, self.paint) if rows else "Nothing is remembered."
        return Answer(text, {"scopes": [scope_json(it) for it in found]})

    def _models(self, **_: Any) -> Answer:
        found = list(Space.objects.annotate(vector_count=Count("vectors")))
        facts = [
            {
                "provider": it.provider, "model": it.model, "state": it.state, "dimension": it.dimension,
                "vectors": it.vector_count, "indexed": spaces.has_index(it),
            }
            for it in found
        ]  # fmt: skip
        rows = [
            (
                str(it), Cell(it.state, _STATE_COLOURS[it.state]), Cell(str(it.dimension or ""), right=True),
                Cell(f"{it.vector_count:,}", right=True),
            )
            for it in found
        ]  # fmt: skip
        text = table(("model", "", "dimension", "vectors"), rows, self.paint) if rows else "No model was needed yet."
        return Answer(text, {"models": facts})

    def _search(self, scope: str, query: str, mode: str, top_k: int, **_: Any) -> Answer:
        found = search.search(requests.parse_search({"scope": scope, "query": query, "mode": mode, "top_k": top_k}))
        rows = [(Cell(f"{it.score:.4f}", right=True), it.memory.key, _line(it.memory.value)) for it in found.matches]
        text = table(("score", "key", "value"), rows, self.paint) if rows else "Nothing is found."
        notes = [f"{found.pending:,} have no vector yet"] if found.pending else []
        notes += [f"by words only: {found.vector_error.message}"] if found.vector_error else []
        return Answer("\n".join([text, *(self.paint(note, "yellow") for note in notes)]), found_json(found))

    def _reset(self, scope: str, **_: Any) -> Answer:
        wanted = requests.parse_reset({"confirm": True, "scope": scope})
        done = store.reset(wanted.scope, by=command_actor())
        return Answer(f"{count(done.deleted_memories, 'memory', 'memories')} forgotten", asdict(done))

    def _reembed(self, failed: bool, **_: Any) -> Answer:
        queued = upkeep.reembed(failed_only=failed)
        return Answer(f"{count(queued, 'memory', 'memories')} to be embedded", {"queued": queued})


def _line(value: Any) -> str:
    text = value["text"] if isinstance(value, dict) and isinstance(value.get("text"), str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
