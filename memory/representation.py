"""Memories as the API shows them: the one place that knows the shapes and key orders."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from memory.models import Memory
from memory.queries import ScopeFacts
from memory.search import Found
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none


def memory_json(memory: Memory) -> dict[str, Any]:
    """The contract's memory object (2.8), and where it comes from."""
    return {
        "id": str(memory.id),
        "scope": memory.scope,
        "key": memory.key,
        "value": memory.value,
        "tags": memory.tags,
        "created_at": iso_ms(memory.created_at),
        "updated_at": iso_ms(memory.updated_at),
        "expires_at": iso_ms_or_none(memory.expires_at),
        "embedding_status": memory.embedding_status,
        "embedding_error": memory.embedding_error,
        "embedded_at": iso_ms_or_none(memory.embedded_at),
        "provenance": {
            "written_by": memory.written_by,
            "job_id": memory.job_id and str(memory.job_id),
            "trusted": memory.trusted,
        },
    }


def scope_json(facts: ScopeFacts) -> dict[str, Any]:
    """A scope in numbers."""
    return asdict(facts) | {"latest_updated_at": iso_ms_or_none(facts.latest_updated_at)}


def found_json(found: Found) -> dict[str, Any]:
    """What a search found: the contract's answer (8.3), and what it did not look at."""
    error = found.vector_error
    return {
        "matches": [
            {"memory": memory_json(it.memory), "score": it.score, "distance": it.distance} for it in found.matches
        ],
        "count": len(found.matches),
        "mode": found.mode,
        "model": found.model,
        "building": found.building,
        "pending": found.pending,
        "failed": found.failed,
        "vector_error": None if error is None else {"code": error.code.name, "message": error.message},
    }
