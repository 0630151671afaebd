"""Memories over HTTP, as the v1 contract has them (2.8, 8.1)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.models import AuditEntry
from jobs import job_types
from jobs.models import JobType
from memory import store
from memory.models import Memory, Session, Vector
from tests.apiclient import READER, Api
from tests.memory.conftest import Remember, jobs_of, let_pass, run_jobs

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"scope": "notes", "key": "deploy.day", "value": {"text": "Tuesday"}, "tags": ["ops"]}
KEYS = [
    "id", "scope", "key", "value", "tags", "created_at", "updated_at", "expires_at", "embedding_status",
    "embedding_error", "embedded_at", "provenance",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _types(db: None) -> None:
    job_types.seed()


def test_a_memory_is_written_and_read(api: Api) -> None:
    answer = api.post("/v1/memory", BODY)

    memory = answer.json["memory"]
    assert (answer.status, list(memory)) == (201, KEYS)
    assert (memory["value"], memory["tags"], memory["embedding_status"]) == ({"text": "Tuesday"}, ["ops"], "pending")
    assert memory["expires_at"] is memory["embedding_error"] is memory["embedded_at"] is None
    assert memory["provenance"] == {"written_by": "key:ci", "job_id": None, "trusted": True}
    assert api.get(f"/v1/memory/{memory['id']}").json == {"ok": True, "memory": memory}


def test_a_second_write_replaces_all_but_id_and_creation(api: Api) -> None:
    first = api.post("/v1/memory", {**BODY, "ttl_sec": 60}).json["memory"]
    run_jobs()

    answer = api.post("/v1/memory", {"scope": "notes", "key": "deploy.day", "value": None})

    second = answer.json["memory"]
    assert answer.status == 201
    assert (second["id"], second["created_at"]) == (first["id"], first["created_at"])
    assert (second["value"], second["tags"], second["expires_at"]) == (None, [], None)
    assert (second["embedding_status"], second["embedded_at"]) == ("pending", None)
    assert second["updated_at"] >= first["updated_at"]
    assert Memory.objects.count() == 1
    assert Vector.objects.count() == 1, "the old vector stays until there is a new one"


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "x"}, {"scope": "not a scope"}, {"scope": None}, {"key": "k"}, {"key": "a/b"}, {"key": 7},
        {"ttl_sec": 0}, {"ttl_sec": 31_536_001}, {"ttl_sec": "60"}, {"ttl_sec": 1.5}, {"ttl_sec": True},
        {"trusted": "yes"},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_field_is_named(api: Api, fields: dict[str, Any]) -> None:
    answer = api.post("/v1/memory", {**BODY, **fields})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["path"] == next(iter(fields))
    assert not Memory.objects.exists()


def test_a_value_must_be_there_but_may_be_anything(api: Api) -> None:
    assert api.post("/v1/memory", {"scope": "notes", "key": "kk"}).code == "VALIDATION_ERROR"
    values: list[Any] = [None, False, 0, "", [], {}, [1, {"a": None}], "ä\U0001f600", 1e20, 0.5]
    for value in values:
        assert api.post("/v1/memory", {**BODY, "value": value}).json["memory"]["value"] == value


def test_tags_are_texts_and_fifty_at_most(api: Api) -> None:
    sent = ["a", 1, {"b": 2}, *map(str, range(60))]

    tags = api.post("/v1/memory", {**BODY, "tags": sent}).json["memory"]["tags"]

    assert tags[:3] == ["a", "1", '{"b": 2}']
    assert len(tags) == 50
    assert api.post("/v1/memory", {**BODY, "tags": "none"}).json["memory"]["tags"] == []


def test_what_has_expired_is_invisible_at_once_and_purged_later(api: Api, remember: Remember) -> None:
    memory, other = remember(ttl_sec=60), remember()
    run_jobs()
    let_pass(61)

    assert api.get(f"/v1/memory/{memory.pk}").status == 404
    assert api("DELETE", f"/v1/memory/{memory.pk}").status == 404
    assert [it["id"] for it in api.get("/v1/memory?scope=notes").json["memories"]] == [str(other.pk)]
    assert api.get("/v1/memory?scope=notes&include_expired=1").json["count"] == 2
    assert api.get("/v1/memory/scopes").json["scopes"][0]["total_count"] == 1
    assert api.get("/v1/memory/scopes?include_expired=1").json["scopes"][0]["total_count"] == 2

    assert (store.purge(), store.purge()) == (1, 0)
    assert list(Memory.objects.all()) == [other]
    assert list(Vector.objects.values_list("memory_id", flat=True)) == [other.pk]


def test_a_purge_goes_on_until_nothing_is_left(remember: Remember, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PURGE_BATCH", 2)
    for _ in range(5):
        remember(ttl_sec=1)
    let_pass(2)

    assert store.purge() == 5


def test_lists_are_newest_first_with_filters_and_cursors(api: Api, remember: Remember) -> None:
    made = [remember(tags=["even"] if number % 2 == 0 else []) for number in range(5)]
    remember(scope="other")

    first = api.get("/v1/memory?scope=notes&limit=3").json
    second = api.get(f"/v1/memory?scope=notes&limit=3&cursor={first['next_cursor']}").json

    assert [it["id"] for it in first["memories"] + second["memories"]] == [str(it.pk) for it in reversed(made)]
    assert (first["count"], second["count"], second["next_cursor"]) == (3, 2, None)
    assert api.get("/v1/memory?tag=even").json["count"] == 3
    assert api.get(f"/v1/memory?key={made[0].key}&scope=notes").json["memories"][0]["id"] == str(made[0].pk)
    assert api.get("/v1/memory?limit=-4").json["count"] == 1
    assert api.get("/v1/memory?scope=undefined").json["count"] == 6
    assert api.get("/v1/memory?cursor=nonsense").code == "VALIDATION_ERROR"


def test_scopes_are_told_in_numbers(api: Api, remember: Remember) -> None:
    remember(scope="project.a_b.chat")
    remember(scope="project.axb.chat")
    run_jobs()
    last = remember(scope="project.a_b.chat")

    scopes = api.get("/v1/memory/scopes?q=A_B").json

    assert scopes == {
        "ok": True, "include_expired": False, "query": "A_B", "count": 1,
        "scopes": [
            {
                "scope": "project.a_b.chat", "total_count": 2, "ready_count": 1, "pending_count": 1, "failed_count": 0,
                "latest_updated_at": api.get(f"/v1/memory/{last.pk}").json["memory"]["updated_at"],
            }
        ],
    }  # fmt: skip
    assert [it["scope"] for it in api.get("/v1/memory/scopes").json["scopes"]] == [
        "project.a_b.chat", "project.axb.chat",
    ]  # fmt: skip
    assert api.get("/v1/memory/scopes?limit=1").json["count"] == 1


def test_a_deleted_memory_takes_its_vector_along_and_is_audited(api: Api, remember: Remember) -> None:
    memory = remember()
    run_jobs()

    answer = api("DELETE", f"/v1/memory/{memory.pk}")

    assert (answer.status, answer.json) == (200, {"ok": True, "id": str(memory.pk), "deleted": True})
    assert not Vector.objects.exists()
    entry = AuditEntry.objects.get(object_type="memory")
    assert (entry.action, entry.actor, entry.object_id) == ("memory.deleted", "key:ci", str(memory.pk))
    for missing in (memory.pk, uuid.uuid4(), "nonsense"):
        assert api("DELETE", f"/v1/memory/{missing}").code == api.get(f"/v1/memory/{missing}").code == "NOT_FOUND"


def test_a_reset_needs_to_be_meant(api: Api, remember: Remember) -> None:
    remember()

    bodies: list[Any] = [
        {},
        {"confirm": "true"},
        {"confirm": 1},
        {"scope": "notes"},
        [],
        {"confirm": True, "scope": None},
    ]
    for body in bodies:
        assert api.post("/v1/memory/reset", body).code == "VALIDATION_ERROR"
    assert api.post("/v1/memory/reset", {"confirm": True}, key=READER).code == "FORBIDDEN"
    assert Memory.objects.count() == 1


def test_a_scope_is_reset_and_then_everything(api: Api, remember: Remember) -> None:
    for scope in ("notes", "notes", "other"):
        remember(scope=scope)
    run_jobs()
    api.post("/v1/working-memory", {"state": {}})

    assert api.post("/v1/memory/reset", {"confirm": True, "scope": "notes"}).json == {
        "ok": True, "scope": "notes", "matched_memories": 2, "deleted_memories": 2, "deleted_vectors": 2,
        "remaining_memories": 1, "remaining_vectors": 1,
    }  # fmt: skip
    assert Session.objects.exists()
    assert api.post("/v1/memory/reset", {"confirm": True}).json == {
        "ok": True, "scope": None, "matched_memories": 1, "deleted_memories": 1, "deleted_vectors": 1,
        "remaining_memories": 0, "remaining_vectors": 0,
    }  # fmt: skip
    assert not Session.objects.exists()


def test_a_reset_is_audited_with_all_that_went_and_holds_the_audit_log_for_nothing_else(
    api: Api, remember: Remember
) -> None:
    remember()
    run_jobs()
    api.post("/v1/working-memory", {"state": {}})

    with CaptureQueriesContext(connection) as sent:
        store.reset(None, by="test")

    assert AuditEntry.objects.get(action="memory.reset").details == {
        "deleted_memories": 1, "deleted_vectors": 1, "deleted_sessions": 1,
    }  # fmt: skip
    statements = [it["sql"] for it in sent.captured_queries]
    locked = next(place for place, text in enumerate(statements) if "pg_advisory_xact_lock" in text)
    assert not [text for text in statements[locked:] if "memory_" in text and "INSERT" not in text]


def test_a_read_key_reads_and_no_more(api: Api, remember: Remember) -> None:
    memory = remember()

    for path in ("/v1/memory", "/v1/memory/scopes", f"/v1/memory/{memory.pk}"):
        assert api.get(path, key=READER).status == 200
    assert api.post("/v1/memory", BODY, key=READER).code == "FORBIDDEN"
    assert api("DELETE", f"/v1/memory/{memory.pk}", key=READER).code == "FORBIDDEN"


def test_a_memory_without_a_job_is_saved_and_says_so(api: Api) -> None:
    JobType.objects.filter(name="system.memory.embed.sync").update(enabled=False)

    answer = api.post("/v1/memory", BODY)

    memory = Memory.objects.get()
    assert (answer.status, answer.code) == (503, "MEMORY_EMBED_QUEUE_FAILED")
    assert answer.json["error"]["details"] == {"memory_id": str(memory.pk), "queue_type": "system.memory.embed.sync"}
    assert memory.embedding_status == "failed"
    assert api.get(f"/v1/memory/{memory.pk}").json["memory"]["embedding_error"]["code"] == "MEMORY_EMBED_QUEUE_FAILED"


def test_with_vectors_off_memories_stay_pending_and_make_no_jobs(
    api: Api, configure: Callable[..., Any], remember: Remember
) -> None:
    configure(MEMORY_VECTOR_ENABLED=0)

    memory = remember()

    assert (memory.embedding_status, memory.embed_after, jobs_of()) == ("pending", None, [])


def test_the_job_is_the_contracts(remember: Remember) -> None:
    memory = remember()

    (job,) = jobs_of()
    facts = (job.queue, job.priority, job.timeout_sec, job.max_attempts, job.tags, job.input)
    assert facts == ("default", 9, 60, 3, ["memory", "embedding"], {"memory_id": str(memory.pk)})


def test_writes_from_many_clients_at_once_leave_one_row(remember: Remember) -> None:
    def write(number: int) -> None:
        author = store.Author("test")
        store.write(scope="race", key="one", value=number, author=author)
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))

    memory = Memory.objects.get(scope="race")
    assert memory.revision == 24
