"""The handlers that need nothing but their input: report, deploy, component, layout (contract 6.2, 6.3, 6.9, 6.10)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.handlers.base import AttemptFailed, Handler
from jobs.handlers.component import ComponentGenerate
from jobs.handlers.deploy import DeployRun
from jobs.handlers.layout import FrontpageLayoutPlan
from jobs.handlers.report import ReportGenerate
from tests.handlers.conftest import Context

Result = Callable[..., dict[str, Any]]


@pytest.fixture
def result(context: Callable[..., Context]) -> Result:
    """`result(handler, input)`: the job's result, as JSON."""

    def run(handler: type[Handler[Any, Any]], given: Any = None) -> dict[str, Any]:
        return handler().run(context(handler, given)).model_dump(mode="json")  # type: ignore[no-any-return]

    return run


@pytest.mark.parametrize("empty", [None, {}, "", 0, False, []])
@pytest.mark.parametrize("handler", [ReportGenerate, DeployRun, ComponentGenerate, FrontpageLayoutPlan])
def test_a_falsy_input_counts_as_an_empty_object(handler: type[Handler[Any, Any]], empty: Any, result: Result) -> None:
    assert handler.Input.model_validate(empty) == handler.Input()
    assert result(handler, empty)


@pytest.mark.parametrize("bad", [[1], "text", 5, True])
@pytest.mark.parametrize("handler", [ReportGenerate, DeployRun, ComponentGenerate, FrontpageLayoutPlan])
def test_an_input_that_is_no_object_is_refused(handler: type[Handler[Any, Any]], bad: Any) -> None:
    with pytest.raises(ValidationError, match="must be a JSON object"):
        handler.Input.model_validate(bad)


@pytest.mark.parametrize(
    ("handler", "lines"),
    [
        (ReportGenerate, ["Generating report"]),
        (DeployRun, ["Building deploy dry-run plan", "Deploy dry-run plan ready"]),
        (ComponentGenerate, ["Generating component files"]),
        (FrontpageLayoutPlan, ["Generating frontpage layout plan"]),
    ],
)
def test_the_log_has_the_lines_that_clients_know(
    handler: type[Handler[Any, Any]], lines: list[str], context: Callable[..., Context]
) -> None:
    attempt = context(handler)

    handler().run(attempt)

    assert [message for message, level, _ in attempt.logs if level == "info"] == lines


def test_a_report_of_nothing_has_the_defaults(result: Result) -> None:
    report = result(ReportGenerate)

    assert uuid.UUID(report.pop("report_id")).version == 4
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report.pop("generated_at"))
    assert report == {
        "title": "Runtime Report", "source": "unknown", "summary": "Runtime Report: 0 metric(s), 0 highlight(s).",
        "metrics": [], "highlights": [], "notes": None,
    }  # fmt: skip


def test_a_report_sorts_its_metrics_and_names_the_largest(result: Result) -> None:
    metrics = {"b": 2, "a": "3.5", "c": "no number", "d": None, "e": 1.0, "f": float("nan"), "g": {}}

    report = result(ReportGenerate, {"title": " Night ", "metrics": metrics, "values": [9], "notes": " "})

    assert report["metrics"] == [{"name": "a", "value": 3.5}, {"name": "b", "value": 2}, {"name": "e", "value": 1}]
    assert report["summary"] == "Night: 3 metric(s), 0 highlight(s). Top metric a=3.5."
    assert report["notes"] is None


def test_a_report_without_metrics_summarises_its_values(result: Result) -> None:
    report = result(ReportGenerate, {"values": [0.1, 0.2, 1, "4", "x", None]})

    numbers = {metric["name"]: metric["value"] for metric in report["metrics"]}
    assert numbers == {"count": 4, "sum": 5.3, "min": 0.1, "max": 4, "avg": 1.325}
    assert report["summary"] == "Runtime Report: 5 metric(s), 0 highlight(s). Top metric sum=5.3."


def test_a_report_cuts_what_is_too_long(result: Result) -> None:
    report = result(
        ReportGenerate,
        {
            "title": "t" * 500, "source": 5, "highlights": ["", " h " + "i" * 300, None, *"abcdefghijklmnopqrstuvwxyz"],
            "metrics": {f"{number:03}" + "n" * 200: number for number in range(150)}, "notes": "n" * 2000,
        },
    )  # fmt: skip

    assert (len(report["title"]), report["source"], len(report["notes"])) == (120, "5", 1000)
    assert len(report["highlights"]) == 20
    assert len(report["highlights"][0]) == 200
    assert len(report["metrics"]) == 100
    assert {len(metric["name"]) for metric in report["metrics"]} == {80}


def test_a_report_survives_numbers_no_computer_holds(result: Result) -> None:
    report = result(ReportGenerate, {"values": [10**400, 1e308, 1e308, 2**60]})

    assert [metric["name"] for metric in report["metrics"]] == ["count", "min", "max"]


def test_a_deploy_plan_has_the_defaults(result: Result) -> None:
    plan = result(DeployRun)

    assert plan["target"] == "staging"
    assert plan["dry_run"] is True
    assert plan["strategy"] == "rolling"
    assert plan["version"] is None
    assert plan["services"] == ["api", "worker", "ui"]
    assert len(plan["plan_steps"]) == 5
    assert plan["checks"] == ["artifact_present", "rollback_checkpoint", "health_check_route", "callback_delivery"]


@pytest.mark.parametrize("given", [{"service": "api"}, {"services": ["api"]}, {"services": "api"}])
def test_a_deploy_plan_takes_one_service_or_many(result: Result, given: dict[str, Any]) -> None:
    assert result(DeployRun, given)["services"] == ["api"]


def test_a_deploy_to_a_target_that_is_not_allowlisted_is_denied_for_good(
    result: Result, configure: Callable[..., Any]
) -> None:
    with pytest.raises(AttemptFailed, match="prod") as caught:
        result(DeployRun, {"target": "prod"})
    assert (caught.value.code.name, caught.value.retryable) == ("POLICY_DENIED", False)

    configure(DEPLOY_TARGET_ALLOWLIST="staging,prod")
    assert result(DeployRun, {"target": "prod"})["target"] == "prod"


def test_a_deploy_is_never_real(result: Result) -> None:
    with pytest.raises(AttemptFailed, match="only plans") as caught:
        result(DeployRun, {"dry_run": False})
    assert caught.value.code.name == "INPUT_INVALID"

    assert result(DeployRun, {"dry_run": 0})["dry_run"] is True


@pytest.mark.parametrize(
    ("handler", "given"),
    [
        (DeployRun, {"strategy": "yolo"}),
        (DeployRun, {"services": ["-rf"]}),
        (DeployRun, {"services": ["a" * 81]}),
        (ComponentGenerate, {"component_name": "lower"}),
        (ComponentGenerate, {"component_name": "../Evil"}),
        (ComponentGenerate, {"framework": "svelte"}),
        (FrontpageLayoutPlan, {"feature_count": 9}),
        (FrontpageLayoutPlan, {"feature_count": "3"}),
        (FrontpageLayoutPlan, {"audience": "x"}),
        (FrontpageLayoutPlan, {"tone": "sad"}),
        (ReportGenerate, {"title": ["x"]}),
    ],
)
def test_what_cannot_be_read_is_refused(handler: type[Handler[Any, Any]], given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        handler.Input.model_validate(given)


@pytest.mark.parametrize(
    ("framework", "language", "file", "mark"),
    [
        ("vue", "ts", "JobCard.vue", '<script setup lang="ts">'),
        ("vue", "js", "JobCard.vue", "<script setup>\n"),
        ("react", "ts", "JobCard.tsx", "interface JobCardProps {"),
        ("react", "js", "JobCard.jsx", 'export function JobCard({ title = "JobCard", children }) {'),
    ],
)
def test_a_component_is_one_file_in_its_language(
    result: Result, framework: str, language: str, file: str, mark: str
) -> None:
    made = result(ComponentGenerate, {"component_name": "JobCard", "framework": framework, "language": language})

    assert [each["path"] for each in made["files"]] == [file]
    assert mark in made["files"][0]["content"]
    assert "job-card" in made["files"][0]["content"]
    assert "{{" not in made["files"][0]["content"].replace("{{ title }}", "")


@pytest.mark.parametrize(
    ("tone", "direction"),
    [("bold", "high-contrast"), ("minimal", "clean-grid"), ("playful", "balanced-modern"), (None, "balanced-modern")],
)
def test_a_layout_has_five_sections_in_order(result: Result, tone: str | None, direction: str) -> None:
    layout = result(FrontpageLayoutPlan, {"tone": tone, "feature_count": 8})

    assert layout["style"]["visual_direction"] == direction
    assert [section["id"] for section in layout["sections"]] == ["hero", "features", "social-proof", "cta", "footer"]
    assert len(layout["sections"][1]["content"]) == 8
    assert len(layout["notes"]) == 3
