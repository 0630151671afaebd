"""What an input must look like at creation (contract 2.3), and how handlers that cannot run yet say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from jobs.handlers import registry
from jobs.handlers.base import AttemptFailed
from jobs.job_types import SEED
from tests.handlers.conftest import Context

HANDLERS = registry.installed()
REQUIRED = {
    "tool.exec": ("command", "cmd", "script"),
    "data.file_read": ("path", "file_path"),
    "tools.file_search": ("query", "q", "name"),
    "tools.find_in_files": ("query", "q", "pattern"),
    "workflow.run": ("workflow", "name"),
}
BAD = {
    "tool.exec": [
        {"command": "x" * 4001}, {"command": "x", "args": ["a"] * 101}, {"command": "x", "args": ["a" * 4001]},
        {"command": "x", "args": "a"}, {"command": "x", "args": [1]}, {"command": "x", "timeout_ms": 99},
        {"command": "x", "timeout_ms": 120_001}, {"command": "x", "timeout_ms": "500"}, {"command": ["x"]},
    ],
    "data.file_read": [
        {"path": "x" * 2001}, {"path": "x", "max_bytes": 511}, {"path": "x", "max_bytes": 1_048_577},
        {"path": "x", "max_bytes": True}, {"path": "x", "max_bytes": 600.5},
    ],
    "data.write_file": [
        {"path": "x"}, {"content": "x"}, {"path": "x", "content": "x", "content_base64": "eA=="},
        {"path": "x", "content_base64": "not base64!"}, {"path": "x", "content": "x", "mode": "truncate"},
        {"path": "x", "content": "x", "mode": "insert_at"},
        {"path": "x", "content": "x", "mode": "insert_at", "offset": -1},
        {"path": "x", "content": "x", "mode": "replace_range", "start": 3, "end": 2},
        {"path": "x", "content": "x", "mode": "insert_at", "offset": 10_485_761},
        {"path": "x", "content": "x", "mode": "insert_at", "offset": 1, "create_if_missing": True},
        {"path": "x", "content": "x", "mkdir_p": "true"}, {"path": "x", "content": "x", "dry_run": 1},
        {"path": "x", "content": "x", "expected_sha256": "ab"}, {"path": "x", "content": "x", "max_bytes": 10},
    ],
    "tools.file_search": [{"query": "x" * 241}, {"query": "x", "max_results": 0}, {"query": "x", "path": "x" * 2001}],
    "tools.find_in_files": [
        {"query": "x" * 501}, {"query": "x", "files": ["f"] * 501}, {"query": "x", "files": ["f" * 2001]},
        {"query": "x", "max_results": 501}, {"query": "x", "max_bytes_per_file": 2_097_153},
        {"query": "x", "max_scanned": 99}, {"query": "x", "regex": "yes"},
    ],
    "workflow.run": [
        {"workflow": "x" * 241}, {"workflow": "x", "workflow_file": " "}, {"workflow": "x", "params": []},
        {"workflow": "x", "vars": "v"}, {"workflow": "x", "queue": "no spaces"}, {"workflow": "x", "queue": ""},
    ],
}  # fmt: skip
GOOD = [
    ("tool.exec", {"cmd": "ls -l", "timeout_ms": 5000.0, "args": None}),
    ("data.file_read", {"file_path": "a", "max_bytes": 512}),
    ("data.write_file", {"path": "x", "content": ""}),
    ("data.write_file", {"path": "x", "content_base64": "w6Q="}),
    ("data.write_file", {"path": "x", "content": "x", "mode": "insert_at", "offset": 0, "create_if_missing": False}),
    ("data.write_file", {"path": "x", "content": "x", "expected_sha256": "aB" * 32}),
    ("tools.file_search", {"query": " ", "q": "readme"}),
    ("workflow.run", {"name": "nightly", "file": "w.yaml", "vars": {"a": 1}}),
]


def validate(job_type: str, value: Any) -> Any:
    return HANDLERS[f"builtin:{job_type}"].Input.model_validate(value)


@pytest.mark.parametrize("job_type", REQUIRED)
def test_the_message_about_a_missing_field_is_the_one_clients_match(job_type: str) -> None:
    for value in (None, {}, {REQUIRED[job_type][0]: "  "}, {"unrelated": 1}):
        with pytest.raises(ValidationError) as caught:
            validate(job_type, value)

        assert caught.value.errors()[0]["msg"] == f"{job_type} requires input.{REQUIRED[job_type][0]}"


@pytest.mark.parametrize("job_type", REQUIRED)
def test_each_alias_stands_for_the_field(job_type: str) -> None:
    name, *aliases = REQUIRED[job_type]

    for alias in aliases:
        assert getattr(validate(job_type, {alias: "given"}), name) == "given"


@pytest.mark.parametrize(("job_type", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_an_input_out_of_bounds_is_refused(job_type: str, value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validate(job_type, value)


@pytest.mark.parametrize(("job_type", "value"), GOOD)
def test_an_input_within_bounds_is_accepted(job_type: str, value: dict[str, Any]) -> None:
    assert validate(job_type, value)


def test_all_fifteen_types_of_the_contract_have_a_handler_that_shows_its_needs() -> None:
    reaching = {name.removeprefix("builtin:"): handler.needs for name, handler in HANDLERS.items()}

    assert {handler for _, _, handler, *_ in SEED[:15]} <= HANDLERS.keys()
    assert reaching["tool.exec"].shell
    assert reaching["data.fetch"].network
    assert reaching["data.write_file"].files
    assert not any(reaching["report.generate"].model_dump().values())


@pytest.mark.parametrize("handler_id", HANDLERS)
def test_each_example_in_a_schema_is_a_valid_input(handler_id: str) -> None:
    model = HANDLERS[handler_id].Input
    schema = model.model_json_schema()

    for example in schema.get("examples", []):
        model.model_validate(example)
        jsonschema.validate(example, schema)


@pytest.mark.parametrize("handler_id", HANDLERS)
def test_each_input_has_an_example_and_describes_its_fields(handler_id: str) -> None:
    schema = HANDLERS[handler_id].Input.model_json_schema()

    assert schema["examples"]
    assert all(field.get("description") for field in schema["properties"].values())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "PROVIDER_INPUT"),
        ({"prompt": " ", "messages": []}, "PROVIDER_INPUT"),
        ({"prompt": "Hi"}, "PROVIDER_DISABLED"),
    ],
)
@pytest.mark.parametrize(("name", "provider"), [("codex.oss", "codex-oss"), ("openai", "openai")])
def test_a_chat_fails_with_a_provider_code_and_its_log_line(
    context: Callable[..., Context], name: str, provider: str, given: dict[str, Any], code: str
) -> None:
    handler = HANDLERS[f"builtin:provider.{name}.chat"]
    attempt = context(type(handler), given)

    with pytest.raises(AttemptFailed) as caught:
        handler.run(attempt)

    assert caught.value.code.name == code
    message, level, meta = attempt.logs[-1]
    assert (message, level) == ("Provider-backed handler failed", "error")
    expected = {
        "handler": handler.id,
        "provider": provider,
        "code": code,
        "details": None,
        "error": caught.value.message,
    }
    assert meta == expected


def test_a_chat_input_that_is_no_object_has_a_provider_code_too(context: Callable[..., Context]) -> None:
    handler = HANDLERS["builtin:provider.openai.chat"]
    attempt = context(type(handler))

    failure = handler.on_invalid_input(attempt.log, "the input must be a JSON object")

    assert not handler.checks_input_at_creation
    assert failure.code.name == "PROVIDER_INPUT"
    assert attempt.logs[0][0] == "Provider-backed handler failed"
