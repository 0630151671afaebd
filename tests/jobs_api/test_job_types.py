"""Job types: the seed, what a list tells of a handler, bounds, and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access.models import AuditEntry
from jobs import job_types
from jobs.models import JobType
from tests.apiclient import READER, Api

NEW = {"name": "report.nightly", "handler": "builtin:report.generate"}


@pytest.fixture
def report(make_type: Callable[..., JobType]) -> JobType:
    return make_type("report.generate", default_timeout_sec=120, default_max_attempts=1)


def test_seed_makes_the_fifteen_types_of_the_contract_and_our_own(db: None) -> None:
    assert job_types.seed() == len(job_types.SEED)

    rows = {row.name: row for row in JobType.objects.all()}
    assert {name for name, row in rows.items() if not row.enabled} == {
        "tool.exec", "tools.web_search", "codex.chat.generate", "ai.chat.generate", "anthropic.chat.generate",
        "ollama.chat.generate", "mcp.call",
    }  # fmt: skip
    assert rows.keys() - {name for name, *_ in job_types.SEED[:15]} == {
        "anthropic.chat.generate", "ollama.chat.generate", "system.jobs.bulk", "system.memory.upkeep", "mcp.call",
        "system.mcp.refresh",
    }  # fmt: skip
    embed = rows["system.memory.embed.sync"]
    assert (embed.handler, embed.default_timeout_sec, embed.default_max_attempts) == (
        "builtin:memory.embed.sync",
        60,
        3,
    )


def test_seed_leaves_what_an_operator_changed(report: JobType) -> None:
    JobType.objects.filter(pk=report.pk).update(enabled=False, default_timeout_sec=7)

    assert job_types.seed() == len(job_types.SEED) - 1
    report.refresh_from_db()
    assert (report.enabled, report.default_timeout_sec) == (False, 7)
    assert job_types.seed() == 0


def test_the_list_tells_what_a_handler_needs_and_takes(api: Api, report: JobType) -> None:
    (shown,) = api.get("/v1/job-types").json["types"]

    assert shown["handler_installed"] is True
    assert shown["needs"] == {"network": False, "shell": False, "files": False}
    assert shown["input_schema"]["type"] == "object"
    assert shown["retry"] == {"base_sec": 2.0, "factor": 2.0, "max_sec": 300.0, "jitter": 0.2}


def test_a_type_without_installed_handler_has_no_schema(api: Api, make_type: Callable[..., JobType]) -> None:
    make_type("custom.type", handler="plugin:absent")

    shown = api.get("/v1/job-types/custom.type").json["type"]

    assert (shown["handler_installed"], shown["needs"], shown["input_schema"]) == (False, None, None)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": None}, "name"),
        ({"name": "ab"}, "name"),
        ({"name": "a" * 81}, "name"),
        ({"name": "with space"}, "name"),
        ({"name": "queue:like"}, "name"),
        ({"name": 5}, "name"),
        ({"handler": None}, "handler"),
        ({"handler": "   "}, "handler"),
        ({"handler": "h" * 201}, "handler"),
        ({"handler": ["x"]}, "handler"),
        ({"default_timeout_sec": 0}, "default_timeout_sec"),
        ({"default_timeout_sec": 3601}, "default_timeout_sec"),
        ({"default_timeout_sec": "60"}, "default_timeout_sec"),
        ({"default_timeout_sec": True}, "default_timeout_sec"),
        ({"default_timeout_sec": 1.5}, "default_timeout_sec"),
        ({"default_max_attempts": 11}, "default_max_attempts"),
        ({"default_max_attempts": 10**200}, "default_max_attempts"),
        ({"retry": []}, "retry"),
        ({"retry": {"base_sec": -1}}, "retry.base_sec"),
        ({"retry": {"factor": 0.5}}, "retry.factor"),
        ({"retry": {"max_sec": 86_401}}, "retry.max_sec"),
        ({"retry": {"jitter": 1.01}}, "retry.jitter"),
        ({"retry": {"jiter": 0.1}}, "retry.jiter"),
    ],
)
def test_a_field_out_of_bounds_is_named_and_nothing_is_made(api: Api, fields: dict[str, Any], path: str) -> None:
    answer = api.post("/v1/job-types", {**NEW, **fields})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [fault["path"] for fault in answer.json["error"]["details"]["errors"]] == [path]
    assert not JobType.objects.exists()


@pytest.mark.parametrize(
    ("sent", "enabled"), [("false", True), (0, False), ("", False), ([], True), ({}, True), (False, False), (1, True)]
)
def test_enabled_goes_by_truthiness(api: Api, sent: Any, enabled: bool) -> None:
    assert api.post("/v1/job-types", {**NEW, "enabled": sent}).json["type"]["enabled"] is enabled


@pytest.mark.parametrize("name", ["enabled", "handler", "default_timeout_sec", "default_max_attempts", "retry"])
def test_a_change_to_null_is_refused(api: Api, report: JobType, name: str) -> None:
    answer = api.patch("/v1/job-types/report.generate", {name: None})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["path"] == name


@pytest.mark.parametrize("body", [{}, {"unknown": 1}, {"retry": {}}, {"name": "other.name"}])
def test_a_change_of_nothing_is_refused(api: Api, report: JobType, body: dict[str, Any]) -> None:
    assert api.patch("/v1/job-types/report.generate", body).status == 400


def test_one_field_of_the_retry_policy_can_change_alone(api: Api, report: JobType) -> None:
    answer = api.patch("/v1/job-types/report.generate", {"retry": {"base_sec": 10}})

    assert answer.json["type"]["retry"] == {"base_sec": 10.0, "factor": 2.0, "max_sec": 300.0, "jitter": 0.2}


def test_changes_are_in_the_audit_log_with_old_and_new_values(api: Api, report: JobType) -> None:
    api.patch("/v1/job-types/report.generate", {"enabled": False, "default_max_attempts": 1})

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.object_id) == ("key:ci", "job_type.updated", "report.generate")
    assert entry.details == {"enabled": [True, False]}


def test_a_change_to_what_already_is_writes_nothing(api: Api, report: JobType) -> None:
    answer = api.patch("/v1/job-types/report.generate", {"default_max_attempts": 1})

    assert answer.status == 200
    assert not AuditEntry.objects.exists()


def test_a_refused_creation_leaves_no_audit_entry(api: Api) -> None:
    assert api.post("/v1/job-types", NEW).status == 201
    assert api.post("/v1/job-types", NEW).status == 409

    assert AuditEntry.objects.count() == 1


def test_names_are_kept_as_written_and_tell_case_apart(api: Api) -> None:
    assert api.post("/v1/job-types", {**NEW, "name": "Report.Nightly"}).status == 201

    assert api.get("/v1/job-types/Report.Nightly").status == 200
    assert api.get("/V1/Job-Types/Report.Nightly/").status == 200
    assert api.get("/v1/job-types/report.nightly").code == "NOT_FOUND"


def test_a_reader_changes_nothing(api: Api, report: JobType) -> None:
    assert api.patch("/v1/job-types/report.generate", {"enabled": False}, key=READER).code == "FORBIDDEN"
    assert api.post("/v1/job-types", NEW, key=READER).code == "FORBIDDEN"
    assert api.get("/v1/job-types", key=READER).json["count"] == 1
