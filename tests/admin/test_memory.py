"""The admin's pages of memory."""

from __future__ import annotations

import pytest

from access.models import AuditEntry
from jobs import job_types
from memory import store, working
from memory.models import Memory, Space
from memory.store import Author
from tests.admin.conftest import Admin, SignIn

MEMORIES, SESSIONS, SPACES = "memory/memory/", "memory/session/", "memory/space/"


@pytest.fixture(autouse=True)
def _types(db: None) -> None:
    job_types.seed()


def note(key: str = "deploy.day", scope: str = "notes") -> Memory:
    return store.write(scope=scope, key=key, value={"text": "Tuesday"}, author=Author("key:ci"), tags=["ops"])


def test_memories_are_listed_found_and_shown(admin: Admin) -> None:
    memory = note()
    note(scope="other")

    listed = admin.page(MEMORIES)
    assert "notes/deploy.day" in listed
    assert "other/deploy.day" in listed
    assert "other/deploy.day" not in admin.page(MEMORIES, query_params={"q": "notes/deploy.day"})
    page = admin.page(f"{MEMORIES}{memory.pk}/change/")
    assert "Tuesday" in page
    assert "key:ci" in page


def test_a_memory_is_forgotten_by_who_may(admin: Admin, sign_in: SignIn) -> None:
    memory, other = note(), note("other")
    viewer = sign_in("view_memory")
    assert "Forget the selected" not in viewer.page(MEMORIES)
    viewer.act(MEMORIES, "forget", memory.pk)
    assert Memory.objects.count() == 2

    assert "Forgotten" in admin.act(MEMORIES, "forget", memory.pk)

    assert Memory.objects.get() == other
    entry = AuditEntry.objects.get(object_type="memory")
    assert (entry.action, entry.actor) == ("memory.deleted", "user:root")


def test_a_memory_that_failed_is_queued_again(admin: Admin) -> None:
    memory = note()
    Memory.objects.update(embedding_status="failed", embedding_error={"code": "X"}, embed_after=None)

    assert "Queued" in admin.act(MEMORIES, "embed_again", memory.pk)
    memory.refresh_from_db()
    assert memory.embed_after is not None

    Memory.objects.update(embedding_status="ready", embedding_error=None, embedded_at="2026-01-01T00:00:00Z")
    assert "Not queued" in admin.act(MEMORIES, "embed_again", memory.pk)


def test_models_and_working_memory_are_shown(admin: Admin) -> None:
    Space.objects.create(provider="ollama", model="embeddinggemma", state="active", dimension=768)
    saved = working.save(working.parse_save({"state": {"current_goal": "Ship it"}}), by="key:ci")

    assert "ollama/embeddinggemma" in admin.page(SPACES)
    assert saved.pk in admin.page(SESSIONS)
    assert "Goal: Ship it" in admin.page(f"{SESSIONS}{saved.pk}/change/")
    menu = admin.page("")
    assert "Embedding models" in menu
