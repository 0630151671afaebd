"""`POST /v1/jobs/submit-intent` (contract 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.job_types import seed
from jobs.models import Job, JobLog
from tests.apiclient import GPU_ONLY, Answer, Api

pytestmark = pytest.mark.django_db

REPORT = "report.generate"
WRITE = {"type": "data.write_file", "input": {"path": "a/b.txt", "content": "x"}}
SEARCH = {"type": "tools.file_search", "input": {"query": "README"}}


@pytest.fixture
def workspace(tmp_path: Path, configure: Callable[..., Any]) -> Path:
    configure(WORKSPACE_ROOT=tmp_path, DATA_FILE_READ_ENABLED=1)
    return tmp_path


@pytest.fixture
def submit(api: Api, workspace: Path) -> Callable[..., Answer]:
    seed()

    def post(*jobs: Any, user_text: str = "", key: str | None = None, **options: bool) -> Answer:
        body = {"jobs": list(jobs), "user_text": user_text, "options": options}
        return api.post("/v1/jobs/submit-intent", body, **({"key": key} if key else {}))

    return post


def intents(answer: Answer) -> list[dict[str, Any]]:
    return [it["job"] for it in answer.json["created_jobs"] if it["kind"] == "intent"]


def write_manual(workspace: Path, tool: str) -> None:
    (workspace / "tools" / tool).mkdir(parents=True)
    (workspace / "tools" / tool / "TOOL.md").write_text("How to use it.")


def test_items_become_jobs_with_lenient_defaults(submit: Any) -> None:
    answer = submit(
        {
            "type": f" {REPORT} ",
            "priority": "high",
            "timeout_sec": 1.5,
            "max_attempts": None,
            "tags": ["", 3],
            "input": 7,
        },
        {"type": REPORT, "queue": "gpu", "priority": 8, "timeout_sec": 9, "max_attempts": 2, "tags": [" a "]},
    )

    assert answer.status == 201
    assert set(answer.json) == {"ok", "created_jobs", "normalized_jobs", "repairs", "skipped"}
    assert [(it["source_idx"], it["kind"], "tool_type" in it) for it in answer.json["created_jobs"]] == [
        (0, "intent", False), (1, "intent", False),
    ]  # fmt: skip
    shown = ("type", "queue", "priority", "timeout_sec", "max_attempts", "tags", "input")
    assert [tuple(job[name] for name in shown) for job in intents(answer)] == [
        (REPORT, "default", 5, 120, 1, ["chat"], {}), (REPORT, "gpu", 8, 9, 2, ["a"], {}),
    ]  # fmt: skip
    assert answer.json["normalized_jobs"][1] == {
        "idx": 1, "type": REPORT, "queue": "gpu", "input": {}, "priority": 8, "timeout_sec": 9,
        "max_attempts": 2, "tags": ["a"],
    }  # fmt: skip
    assert set(JobLog.objects.values_list("message", flat=True)) == {"Job created"}


@pytest.mark.parametrize("jobs", [None, [], "x", [{}] * 41])
def test_the_number_of_items_is_bounded(api: Api, jobs: Any) -> None:
    answer = api.post("/v1/jobs/submit-intent", {"jobs": jobs})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


def test_what_cannot_be_a_job_is_skipped_with_its_reason(submit: Any) -> None:
    answer = submit(
        {"input": {}}, {"type": "no.such.type"}, {"type": REPORT, "priority": 11}, "text",
        {"type": "tools.file_search"}, repair=False,
    )  # fmt: skip

    assert answer.status == 200
    assert answer.json["created_jobs"] == []
    assert [(it["idx"], it["type"], it["code"]) for it in answer.json["skipped"]] == [
        (0, "", "VALIDATION_ERROR"), (1, "no.such.type", "VALIDATION_ERROR"), (2, REPORT, "VALIDATION_ERROR"),
        (3, "", "VALIDATION_ERROR"), (4, "tools.file_search", "VALIDATION_ERROR"),
    ]  # fmt: skip
    assert "tools.file_search requires input.query" in answer.json["skipped"][4]["message"]
    assert Job.objects.count() == 0


def test_a_queue_that_the_key_may_not_use_is_skipped(submit: Any) -> None:
    answer = submit({"type": REPORT}, {"type": REPORT, "queue": "gpu"}, key=GPU_ONLY)

    assert answer.status == 201
    assert [it["code"] for it in answer.json["skipped"]] == ["FORBIDDEN"]
    assert [job["queue"] for job in intents(answer)] == ["gpu"]


@pytest.mark.parametrize(
    ("query", "user_text", "guess"),
    [
        (None, "please open src/app/main.py, and the README", "src/app/main.py"),
        ("x" * 121, "what does the readme say?", "README"),
        ("two\nlines", "Show README.md!", "README.md"),
        ("", "is it a bug or not", "bug"),
        ("", "?", "README"),
    ],
)
def test_a_search_without_a_usable_query_gets_one(submit: Any, query: str | None, user_text: str, guess: str) -> None:
    answer = submit({"type": "tools.file_search", "input": {"query": query}}, user_text=user_text)

    assert answer.json["repairs"] == [{"idx": 0, "kind": "file_search_query", "value": guess}]
    assert intents(answer)[0]["input"]["query"] == guess


def test_a_usable_query_and_what_is_asked_not_to_be_repaired_stay(submit: Any) -> None:
    assert submit(SEARCH).json["repairs"] == []
    answer = submit(WRITE, repair=False)
    assert answer.json["repairs"] == []
    assert intents(answer)[0]["input"] == WRITE["input"]


def test_a_write_makes_the_file_and_its_directories(submit: Any) -> None:
    placed = {"path": "a.txt", "content": "x", "mode": "insert_at", "offset": 0}
    answer = submit(WRITE, {"type": "data.write_file", "input": placed})

    assert answer.json["repairs"] == [
        {"idx": 0, "kind": "write_create_if_missing", "value": True},
        {"idx": 0, "kind": "write_mkdir_p", "value": True},
    ]
    first, second = intents(answer)
    assert (first["input"]["create_if_missing"], first["input"]["mkdir_p"]) == (True, True)
    assert second["input"] == placed


def test_items_depend_on_each_other_by_number_and_on_the_last_one(submit: Any) -> None:
    plain = {"type": REPORT}
    answer = submit(
        plain, plain,
        {**plain, "input": {"depends_on_idx": [1, 2]}},
        {**plain, "input": {"depends_on_last_job": "true", "depends_on_idx": 1}},
        {**plain, "input": {"depends_on_last_job": False}},
    )  # fmt: skip

    one, two, three, four, five = intents(answer)
    assert three["input"] == {"depends_on": [one["id"], two["id"]]}
    assert four["input"] == {"depends_on": [three["id"], one["id"]]}
    assert five["input"] == {}
    assert Job.objects.get(pk=three["id"]).waiting_on == 2


def test_an_item_that_needs_one_that_was_skipped_is_skipped_too(submit: Any) -> None:
    answer = submit(
        {"type": "no.such.type"}, {"type": REPORT, "input": {"depends_on_idx": [1]}},
        {"type": REPORT, "input": {"depends_on_idx": [9]}},
    )  # fmt: skip

    assert [(it["idx"], it["code"]) for it in answer.json["skipped"]] == [
        (0, "VALIDATION_ERROR"), (1, "DEPENDENCY_BLOCKED"), (2, "DEPENDENCY_BLOCKED"),
    ]  # fmt: skip


def test_the_manual_of_a_tool_is_read_before_its_first_use(submit: Any, workspace: Path) -> None:
    write_manual(workspace, "tools.file_search")

    answer = submit(SEARCH, SEARCH, WRITE)

    doc, first, second, third = answer.json["created_jobs"]
    assert (doc["kind"], doc["tool_type"], doc["source_idx"]) == ("tool_doc", "tools.file_search", 0)
    shown = ("type", "input", "priority", "timeout_sec", "max_attempts", "tags", "queue")
    assert tuple(doc["job"][name] for name in shown) == (
        "data.file_read", {"path": "tools/tools.file_search/TOOL.md"}, 5, 30, 1, ["chat", "tool-doc"], "default",
    )  # fmt: skip
    assert first["job"]["input"]["depends_on"] == [doc["job"]["id"]]
    assert "depends_on" not in second["job"]["input"]
    assert "depends_on" not in third["job"]["input"]


def test_a_missing_manual_never_blocks(submit: Any, configure: Any, workspace: Path) -> None:
    assert [it["kind"] for it in submit(SEARCH).json["created_jobs"]] == ["intent"]
    write_manual(workspace, "tools.file_search")
    assert [it["kind"] for it in submit(SEARCH, inject_tool_docs=False).json["created_jobs"]] == ["intent"]
    configure(DATA_FILE_READ_ENABLED=0)
    assert [it["kind"] for it in submit(SEARCH).json["created_jobs"]] == ["intent"]


def test_no_manual_is_read_for_what_reads_one_or_is_skipped(submit: Any, workspace: Path) -> None:
    write_manual(workspace, "data.file_read")
    write_manual(workspace, "tools.file_search")
    reads = {"type": "data.file_read", "input": {"path": "tools/tool.exec/TOOL.md"}}

    answer = submit(reads, {"type": "tools.file_search"}, repair=False)

    assert [it["kind"] for it in answer.json["created_jobs"]] == ["intent"]
    assert Job.objects.count() == 1
