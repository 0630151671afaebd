"""Embedding as jobs: what they say of themselves, how few they are, and what they do when a model fails."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from jobs.models import Job, JobLog, Status
from memory import embedding, queueing, spaces, store, upkeep
from memory.models import Memory, Space, Vector
from memory.words import embedded_text, searched_words
from tests.apiclient import Api
from tests.memory.conftest import EMBED, UPKEEP, Remember, jobs_of, let_pass, run, run_jobs
from tests.modelserver import ModelServer, Refusal

pytestmark = pytest.mark.django_db(transaction=True)

MINILM = "all-MiniLM-L6-v2"


def embed_job(memory_id: object) -> Job:
    return queueing.make(EMBED, {"memory_id": str(memory_id)}, priority=9, timeout_sec=60, max_attempts=3)


def test_a_memory_becomes_ready(api: Api, remember: Remember) -> None:
    memory = remember()

    (job,) = run_jobs()

    assert job.result == {
        "memory_id": str(memory.pk), "embedding_status": "ready", "dimension": 384, "model": MINILM, "embedded": 1,
    }  # fmt: skip
    shown = api.get(f"/v1/memory/{memory.pk}").json["memory"]
    assert (shown["embedding_status"], shown["embedding_error"]) == ("ready", None)
    assert shown["embedded_at"] is not None
    assert shown["updated_at"] == api.get("/v1/memory").json["memories"][0]["updated_at"]
    assert Memory.objects.get().updated_at == memory.updated_at, "embedding is no update"
    assert Vector.objects.get().revision == memory.revision


def test_what_is_embedded_is_the_contracts_four_lines() -> None:
    text = embedded_text(scope="s1", key="k1", tags=["b", "a"], value={"z": 1, "a": {"y": None, "b": "ä"}})

    assert text == 'scope:s1\nkey:k1\ntags:["b","a"]\nvalue:{"a":{"b":"ä","y":null},"z":1}'
    assert len(embedded_text(scope="s1", key="k1", tags=[], value="x" * 10**6)) == 16_000


def test_what_is_searched_is_words() -> None:
    words = searched_words(key="deploy.day-of_week", tags=["ops"], value={"who_signs": ["Ann", 7, True, None]})

    assert words == "deploy day-of week\nops\nwho signs\nAnn\n7"


def test_one_job_takes_all_that_waits(remember: Remember) -> None:
    memories = [remember(f"thing {number}") for number in range(70)]
    assert len(jobs_of()) == 1

    (job,) = run_jobs()

    assert isinstance(job.result, dict)
    assert job.result["embedded"] == 70
    assert Vector.objects.count() == len(memories)
    assert not Memory.objects.exclude(embedding_status="ready").exists()


def test_a_write_while_a_job_runs_makes_another(remember: Remember) -> None:
    remember()
    (job,) = jobs_of()
    Job.objects.filter(pk=job.pk).update(attempts=1)

    remember()

    assert len(jobs_of()) == 2


def test_a_row_that_changed_meanwhile_keeps_its_old_vector_and_waits(remember: Remember) -> None:
    memory = remember("first")
    taken = embedding.take_one(memory.pk)
    remember("second", key=memory.key)

    assert embedding.embed(taken) == {}

    memory.refresh_from_db()
    assert (memory.embedding_status, Vector.objects.count()) == ("pending", 0)
    run_jobs()
    assert Vector.objects.get().revision == 2


def test_two_jobs_do_not_take_the_same_memories(remember: Remember) -> None:
    for number in range(6):
        remember(f"thing {number}")

    first, second, third = embedding.take(4), embedding.take(4), embedding.take(4)

    assert (len(first), len(second), len(third)) == (4, 2, 0)
    assert not {it.id for it in first} & {it.id for it in second}
    let_pass(embedding.LEASE_SEC + 1)
    assert len(embedding.take(10)) == 6, "what a dead worker had taken is free again"


@pytest.mark.parametrize("memory_id", [uuid.UUID(int=7), "nonsense"], ids=str)
def test_a_missing_memory_is_skipped_and_the_others_are_not(remember: Remember, memory_id: object) -> None:
    remember()

    job = run(embed_job(memory_id))

    assert job.result == {"memory_id": str(memory_id), "skipped": True, "reason": "not_found", "embedded": 1}
    line = JobLog.objects.get(job=job, message="Memory row missing; skipping embed job")
    assert (line.level, line.meta) == ("warn", {"memory_id": str(memory_id)})


def test_an_expired_memory_is_skipped(remember: Remember) -> None:
    memory = remember(ttl_sec=60)
    let_pass(61)

    (job,) = run_jobs()

    assert job.result == {"memory_id": str(memory.pk), "skipped": True, "reason": "expired", "embedded": 0}
    line = JobLog.objects.get(job=job, message="Memory row expired; skipping embed job")
    assert line.meta is not None
    assert line.meta.keys() == {"memory_id", "expires_at"}
    assert not queueing.embed_overdue()


def test_a_failure_is_told_retried_and_mended(api: Api, remember: Remember, by_ollama: ModelServer) -> None:
    memory = remember()
    by_ollama.answer_embeddings(Refusal(503, "loading"))

    (job,) = jobs_of()
    run(job)

    assert (job.status, job.error and job.error["code"]) == (Status.QUEUED, "MEMORY_EMBED_HTTP")
    shown = api.get(f"/v1/memory/{memory.pk}").json["memory"]
    assert shown["embedding_status"] == "failed"
    error = shown["embedding_error"]
    assert (error["code"], error["details"]) == ("MEMORY_EMBED_HTTP", {"status": 503})
    assert error["at"].endswith("Z")

    run(job)
    assert (job.status, job.result and job.result["dimension"]) == (Status.SUCCEEDED, 768)
    memory.refresh_from_db()
    assert (memory.embedding_status, memory.embedding_error, memory.embed_tries) == ("ready", None, 0)


def test_what_failed_is_tried_again_by_the_heartbeat(remember: Remember, by_ollama: ModelServer) -> None:
    memories = [remember(f"thing {number}") for number in range(3)]
    by_ollama.answer_embeddings(*[Refusal(500)] * 3)
    (job,) = jobs_of()
    for _ in range(3):
        run(job)
    assert job.status == Status.FAILED
    assert set(Memory.objects.values_list("embedding_status", flat=True)) == {"failed"}
    upkeep.tend()
    assert len(jobs_of()) == 1, "not at once"

    let_pass(3600)
    upkeep.tend()
    run_jobs()

    assert Vector.objects.count() == len(memories)


def test_the_model_refusing_one_text_fails_that_one(remember: Remember, by_ollama: ModelServer) -> None:
    memories = [remember(f"thing {number}") for number in range(3)]
    by_ollama.answer_embeddings(Refusal(400, "too long"), Refusal(400, "too long"))

    (job,) = run_jobs()

    assert job.status == Status.FAILED, "its own text was the one, and another try would not help"
    states = [Memory.objects.get(pk=it.pk).embedding_status for it in memories]
    assert states == ["failed", "ready", "ready"]
    assert Memory.objects.get(pk=memories[0].pk).embed_after is None


def test_vectors_of_another_length_are_refused(remember: Remember, by_ollama: ModelServer) -> None:
    remember()
    run_jobs()
    by_ollama.dimensions = 32
    other = remember()

    run_jobs()

    other.refresh_from_db()
    assert other.embedding_error is not None
    assert other.embedding_error["code"] == "MEMORY_VECTOR_DIMENSION"
    assert other.embedding_error["details"] == {"existing_dimension": 768, "requested_dimension": 32}


def test_what_was_written_while_vectors_were_off_gets_them_later(
    remember: Remember, configure: Callable[..., Any]
) -> None:
    configure(MEMORY_VECTOR_ENABLED=0)
    memory = remember()
    upkeep.tend()
    assert jobs_of() == []

    configure(MEMORY_VECTOR_ENABLED=1)
    upkeep.tend()
    run_jobs()

    memory.refresh_from_db()
    assert memory.embedding_status == "ready"


def test_a_crash_between_commit_and_job_is_made_good(remember: Remember, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as crash:
        crash.setattr(queueing, "embed_soon", lambda _id: None)
        remember()
    assert jobs_of() == []

    upkeep.tend()
    upkeep.tend()

    assert len(jobs_of()) == 1
    assert len(run_jobs()) == 1


def test_a_deleted_memory_needs_no_vector(remember: Remember) -> None:
    memory = remember()
    taken = embedding.take_one(memory.pk)
    store.reset(None, by="test")

    assert embedding.embed(taken) == {}
    assert not Vector.objects.exists()


# Indexes and models


def test_the_first_vectors_make_an_index(remember: Remember) -> None:
    remember()
    run_jobs()
    space = Space.objects.get()
    assert not spaces.has_index(space)

    (job,) = run_jobs(UPKEEP)

    assert job.result == {"done": [f"made the index of minilm/{MINILM}"]}
    assert spaces.has_index(space)
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [space.index_name])
        definition = cursor.fetchone()[0]
    assert "hnsw" in definition
    assert f"WHERE (space_id = {space.pk})" in definition
    upkeep.tend()
    assert run_jobs(UPKEEP) == [], "and no second job"


def test_an_index_that_was_left_half_made_is_made_anew(remember: Remember) -> None:
    remember()
    run_jobs()
    run_jobs(UPKEEP)
    space = Space.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [space.index_name])
    assert not spaces.has_index(space)

    upkeep.tend()
    run_jobs(UPKEEP)

    assert spaces.has_index(space)


@pytest.mark.parametrize(
    ("dimension", "type_"), [(384, "vector(384)"), (2000, "vector(2000)"), (3072, "halfvec(3072)"), (4096, None)]
)
def test_long_vectors_are_indexed_as_pgvector_can(dimension: int, type_: str | None) -> None:
    assert spaces.indexed_as(dimension) == type_


def test_another_model_is_filled_beside_the_one_in_use_and_takes_over(
    remember: Remember, models: ModelServer, configure: Callable[..., Any]
) -> None:
    memories = [remember(f"thing {number}") for number in range(5)]
    run_jobs()
    run_jobs(UPKEEP)
    old = Space.objects.get()

    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)
    upkeep.tend()
    new = Space.objects.get(provider="ollama")
    assert (spaces.active(), new.state) == (old, "building")
    during = remember("written meanwhile")
    run_jobs()
    assert Vector.objects.filter(space=old).count() == Vector.objects.filter(space=new).count() == 6
    assert set(Memory.objects.values_list("embedding_status", flat=True)) == {"ready"}
    assert spaces.active() == old, "not before the index is there"

    upkeep.tend()
    (job,) = run_jobs(UPKEEP)

    assert spaces.active() == new
    assert job.result == {
        "done": [f"made the index of {new}", f"searches use {new} now", f"forgot the vectors of {old}"]
    }
    assert Vector.objects.count() == len(memories) + 1
    assert Memory.objects.get(pk=during.pk).embedding_status == "ready"
    old.refresh_from_db()
    assert (old.state, old.dimension, Memory.objects.exclude(embed_after=None).count()) == ("retired", None, 0)


def test_a_memory_that_the_new_model_refuses_has_failed_after_the_change(
    remember: Remember, models: ModelServer, configure: Callable[..., Any]
) -> None:
    memories = [remember(f"thing {number}") for number in range(2)]
    run_jobs()
    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)
    models.answer_embeddings(Refusal(400), Refusal(400))
    upkeep.tend()
    run_jobs()
    assert set(Memory.objects.values_list("embedding_status", flat=True)) == {"ready"}

    for _ in range(2):
        upkeep.tend()
        run_jobs(UPKEEP)

    states = Memory.objects.filter(pk__in=[it.pk for it in memories]).values_list("embedding_status", flat=True)
    assert sorted(states) == ["failed", "ready"]
    assert upkeep.reembed(failed_only=True) == 1
    upkeep.tend()
    run_jobs()
    assert not Memory.objects.exclude(embedding_status="ready").exists()


def test_going_back_keeps_the_old_model(remember: Remember, models: ModelServer, configure: Callable[..., Any]) -> None:
    remember()
    run_jobs()
    old = spaces.active()
    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)
    assert spaces.live().building is not None

    configure(MEMORY_EMBEDDER="minilm")

    assert (spaces.live().active, spaces.live().building) == (old, None)


def test_a_model_that_is_wanted_again_keeps_the_vectors_that_are_not_deleted_yet(
    remember: Remember, models: ModelServer, configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        remember(f"thing {number}")
    run_jobs()
    old = Space.objects.get()
    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)
    upkeep.tend()
    run_jobs()
    forget = spaces.forget_vectors

    def forget_one_and_change_back(space: Space) -> bool:
        more = forget(space, limit=1)
        configure(MEMORY_EMBEDDER="minilm")
        spaces.live()
        return more

    monkeypatch.setattr(spaces, "forget_vectors", forget_one_and_change_back)
    done = upkeep.run()

    assert not [line for line in done if line.startswith("forgot")]
    assert Vector.objects.filter(space=old).count() == 2
    building = spaces.live().building
    assert building is not None
    assert (building, building.dimension) == (old, 384)


def test_a_model_that_has_made_nothing_is_not_waited_for(
    remember: Remember, models: ModelServer, configure: Callable[..., Any]
) -> None:
    spaces.live()
    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)

    assert (spaces.live().active.provider, spaces.live().building) == ("ollama", None)


def test_all_vectors_can_be_made_anew(remember: Remember) -> None:
    remember()
    run_jobs()
    before = Vector.objects.get().made_at

    assert upkeep.reembed(failed_only=False) == 1
    assert not Vector.objects.exists()
    upkeep.tend()
    run_jobs()

    assert Vector.objects.get().made_at > before
    assert Memory.objects.get().embedding_status == "ready"


def test_vectors_made_while_the_old_ones_are_deleted_are_made_again(
    remember: Remember, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        remember(f"thing {number}")
    run_jobs()
    forget, beats = spaces.forget_vectors, iter([True])

    def forget_slowly(space: Space) -> bool:
        more = forget(space)
        if next(beats, False):
            upkeep.tend()
            run_jobs()
        return more

    monkeypatch.setattr(spaces, "forget_vectors", forget_slowly)

    assert upkeep.reembed(failed_only=False) == 3
    upkeep.tend()
    run_jobs()

    current = Vector.objects.filter(revision=F("memory__revision"))
    assert (current.count(), Memory.objects.filter(embedding_status="ready").count()) == (3, 3)
