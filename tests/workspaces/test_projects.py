"""Metadata of projects (contract 2.13)."""

from __future__ import annotations

from typing import Any

import pytest

from access.models import AuditEntry
from tests.apiclient import READER, Api

EMPTY = {"displayName": None, "notes": None, "tags": None, "isArchived": False, "updatedAt": None}


def test_any_id_has_metadata(api: Api) -> None:
    assert api.get("/v1/projects/yleischat/meta", key=READER).json == {
        "ok": True,
        "meta": {"projectId": "yleischat", **EMPTY},
    }


def test_what_is_sent_is_changed_and_the_rest_stays(api: Api) -> None:
    api.patch("/v1/projects/Garden:1/meta", {"displayName": "  Garden ", "tags": ["home", {"n": 1}], "notes": "x"})
    meta = api.patch("/v1/projects/Garden:1/meta", {"notes": "  ", "isArchived": True}).json["meta"]

    assert meta == api.get("/v1/projects/Garden:1/meta").json["meta"]
    assert meta.pop("updatedAt").endswith("Z")
    assert meta == {
        "projectId": "Garden:1", "displayName": "Garden", "notes": None, "tags": ["home", {"n": 1}], "isArchived": True,
    }  # fmt: skip
    assert [(entry.action, entry.details) for entry in AuditEntry.objects.order_by("id")] == [
        ("project.updated", {"fields": ["display_name", "notes", "tags"]}),
        ("project.updated", {"fields": ["archived", "notes"]}),
    ]


@pytest.mark.parametrize("archived", [False, "true", 1, None])
def test_only_true_archives(api: Api, archived: Any) -> None:
    api.patch("/v1/projects/a/meta", {"isArchived": True})

    assert api.patch("/v1/projects/a/meta", {"isArchived": archived}).json["meta"]["isArchived"] is False


@pytest.mark.parametrize(
    ("project_id", "body"),
    [
        ("a", {}),
        ("a", {"unknown": 1}),
        ("a", []),
        ("a", {"displayName": 5}),
        ("a", {"displayName": "x" * 201}),
        ("a", {"tags": "home"}),
        ("a", {"tags": ["x" * 16_384]}),
        ("x" * 201, {"notes": "x"}),
        ("a%00b", {"notes": "x"}),
    ],
)
def test_what_cannot_be_kept_is_refused(api: Api, project_id: str, body: Any) -> None:
    answer = api.patch(f"/v1/projects/{project_id}/meta", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


def test_several_at_once(api: Api) -> None:
    api.patch("/v1/projects/b/meta", {"displayName": "B"})

    found = api.get("/v1/projects/meta?ids=a,%20b,,b").json["meta"]

    assert list(found) == ["a", "b"]
    assert (found["a"], found["b"]["displayName"]) == ({"projectId": "a", **EMPTY}, "B")


@pytest.mark.parametrize("ids", ["", ",", ",".join(map(str, range(101))), "x" * 201])
def test_no_ids_or_too_many_are_refused(api: Api, ids: str) -> None:
    assert api.get(f"/v1/projects/meta?ids={ids}").code == "VALIDATION_ERROR"


def test_a_read_key_changes_nothing(api: Api) -> None:
    assert api.patch("/v1/projects/a/meta", {"notes": "x"}, key=READER).code == "FORBIDDEN"
