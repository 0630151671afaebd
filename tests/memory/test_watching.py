"""What operators see of memory: the command, the gauge for Prometheus, the periodic tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from access.models import AuditEntry
from memory import tasks
from memory.models import Memory, Space, Vector
from metrics import prometheus
from rauskuclaw.operations.checks.memory import vectors
from rauskuclaw.operations.findings import Level
from tests.memory.conftest import UPKEEP, Remember, jobs_of, let_pass, run_jobs
from tests.modelserver import ModelServer, Refusal
from tests.operations.conftest import Manage, manage

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["manage"]


def test_scopes_and_models_are_listed(manage: Manage, remember: Remember) -> None:
    assert manage("memory", "scopes").out.strip() == "Nothing is remembered."
    assert manage("memory", "models").out.strip() == "No model was needed yet."
    remember()
    remember(scope="other")
    run_jobs()
    run_jobs(UPKEEP)

    scopes = manage("memory", "scopes")
    models = json.loads(manage("memory", "models", "--json").out)

    assert [line.split()[:2] for line in scopes.out.splitlines()[1:]] == [["other", "1"], ["notes", "1"]]
    assert models["models"] == [
        {
            "provider": "minilm", "model": "all-MiniLM-L6-v2", "state": "active", "dimension": 384, "vectors": 2,
            "indexed": True,
        }
    ]  # fmt: skip
    assert "minilm/all-MiniLM-L6-v2" in manage("memory", "models").out


def test_a_search_from_the_command_line(manage: Manage, remember: Remember) -> None:
    remember({"text": "The office dog is called Rusty"}, key="pet.name")
    run_jobs()
    remember("waits")

    found = manage("memory", "search", "notes", "what is the dog called?")

    assert found.code == 0
    assert "pet.name" in found.out
    assert "The office dog is called Rusty" in found.out
    assert "1 have no vector yet" in found.out
    assert manage("memory", "search", "!", "x").code == 2
    assert manage("memory", "search", "empty", "x", "--mode", "text").out.strip() == "Nothing is found."


def test_a_scope_is_forgotten_and_that_is_audited(manage: Manage, remember: Remember) -> None:
    remember()
    remember(scope="other")

    assert "1 memory forgotten" in manage("memory", "reset", "notes").out

    assert Memory.objects.get().scope == "other"
    entry = AuditEntry.objects.get(action="memory.reset")
    assert (entry.object_id, entry.actor.partition(":")[0]) == ("notes", "cli")


def test_failed_and_all_are_embedded_again(manage: Manage, remember: Remember, by_ollama: ModelServer) -> None:
    remember()
    by_ollama.answer_embeddings(Refusal(404, "no such model"))
    run_jobs()
    assert Memory.objects.get().embed_after is None

    assert "1 memory to be embedded" in manage("memory", "reembed", "--failed").out
    tasks.tend()
    run_jobs()
    assert Memory.objects.get().embedding_status == "ready"

    by_ollama.dimensions = 32
    assert "1 memory to be embedded" in manage("memory", "reembed", "--all").out
    assert not Vector.objects.exists()
    tasks.tend()
    run_jobs()
    assert Space.objects.get(state="active").dimension == 32


def test_what_has_no_vector_is_a_gauge(remember: Remember, by_ollama: ModelServer) -> None:
    remember()
    by_ollama.answer_embeddings(Refusal(404))
    run_jobs()
    remember()

    page = prometheus.render("").decode()

    assert 'rauskuclaw_memories_without_vector{state="pending"} 1.0' in page
    assert 'rauskuclaw_memories_without_vector{state="failed"} 1.0' in page


def test_beat_purges_and_tends(remember: Remember, configure: Callable[..., Any]) -> None:
    from rauskuclaw.celery import app

    rung = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {"memory.purge", "memory.tend"} <= rung
    remember(ttl_sec=1)
    let_pass(2)
    tasks.purge()
    assert not Memory.objects.exists()

    configure(MEMORY_VECTOR_ENABLED=0)
    remember()
    tasks.tend()
    assert len(jobs_of()) == 1, "that of the first"
    configure(MEMORY_VECTOR_ENABLED=1)
    run_jobs()
    assert Memory.objects.get().embedding_status == "pending"
    tasks.tend()
    run_jobs()
    assert Memory.objects.get().embedding_status == "ready"


def found() -> dict[str, Level]:
    return {finding.check: finding.level for finding in vectors()}


def test_doctor_sees_what_cannot_be_found_by_meaning(
    remember: Remember, by_ollama: ModelServer, configure: Callable[..., Any]
) -> None:
    assert found() == {}
    remember()
    run_jobs()
    assert found() == {"memory": Level.WARN}, "no index yet"
    run_jobs(UPKEEP)
    assert found() == {"memory": Level.OK}

    by_ollama.answer_embeddings(Refusal(404))
    remember()
    run_jobs()
    assert found() == {"memory": Level.OK, "memory.failed": Level.WARN}
    remember()
    let_pass(3600)
    assert found()["memory"] == Level.WARN, "it waits for an hour"
    configure(MEMORY_VECTOR_ENABLED=0)
    assert found() == {"memory": Level.OK}
