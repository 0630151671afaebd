"""`manage.py jobtypes`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from access.models import AuditEntry
from jobs.models import JobType
from tests.operations.conftest import Manage


@pytest.fixture(autouse=True)
def types(make_type: Callable[..., JobType]) -> None:
    make_type("report.generate")
    make_type("gone.away", handler="plugin:gone")


def test_list_shows_every_type(manage: Manage) -> None:
    text, facts = manage("jobtypes", "list").out, manage("jobtypes", "list", "--json").json

    assert [it["name"] for it in facts["types"]] == ["gone.away", "report.generate"]
    assert "not installed" in next(line for line in text.splitlines() if line.startswith("gone.away"))


def test_show_has_the_schema_and_the_retry_policy(manage: Manage) -> None:
    text = manage("jobtypes", "show", "report.generate").out

    assert '"properties"' in text
    assert "2 s, then × 2 up to 5 min, 20% of it random" in text
    assert manage("jobtypes", "show", "report.generate", "--json").json["type"]["retry"]["factor"] == 2


def test_disable_and_enable_are_recorded(manage: Manage) -> None:
    manage("jobtypes", "disable", "report.generate", "gone.away")
    manage("jobtypes", "enable", "report.generate")

    assert list(JobType.objects.order_by("name").values_list("enabled", flat=True)) == [False, True]
    assert AuditEntry.objects.filter(action="job_type.updated", actor__startswith="cli:").count() == 3


def test_one_unknown_name_changes_nothing(manage: Manage) -> None:
    ran = manage("jobtypes", "disable", "report.generate", "no.such", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "NOT_FOUND")
    assert JobType.objects.filter(enabled=True).count() == 2


def test_set_changes_what_it_is_told(manage: Manage) -> None:
    changes = ["default_timeout_sec=60", "retry.base_sec=5", "enabled=false", "handler=builtin:data.fetch"]

    ran = manage("jobtypes", "set", "report.generate", *changes)

    job_type = JobType.objects.get(name="report.generate")
    assert ran.code == 0
    assert (job_type.default_timeout_sec, job_type.retry_base_sec, job_type.enabled) == (60, 5, False)
    assert (job_type.handler, job_type.retry_factor) == ("builtin:data.fetch", 2)


def test_pause_and_resume_are_recorded_and_shown(manage: Manage) -> None:
    manage("jobtypes", "pause", "report.generate", "gone.away")
    assert "paused" in manage("jobtypes", "list").out
    manage("jobtypes", "resume", "report.generate")

    assert list(JobType.objects.order_by("name").values_list("paused", flat=True)) == [True, False]
    assert AuditEntry.objects.filter(action="job_type.updated", actor__startswith="cli:").count() == 3


def test_limits_are_set_one_at_a_time(manage: Manage) -> None:
    changes = ["limits.max_running=4", "limits.key_pointer=/repository", 'limits.rate={"limit": 10, "per_key": true}']
    ran = manage("jobtypes", "set", "report.generate", *changes, "--json")

    assert ran.json["types"][0]["limits"]["rate"] == {"limit": 10, "period_sec": 60, "per_key": True}
    assert "4 at once, 10 in 1 min for each key" in manage("jobtypes", "show", "report.generate").out

    manage("jobtypes", "set", "report.generate", "limits.rate=null")
    job_type = JobType.objects.get(name="report.generate")
    assert (job_type.rate_limit, job_type.max_running, job_type.key_pointer) == (None, 4, "/repository")


@pytest.mark.parametrize(
    "change",
    [
        "default_timeout_sec=0",
        "enabled=no",
        "retry.base=1",
        "color=red",
        "enabled",
        "retry={}",
        "limits={}",
        "limits.max_running=0",
    ],
)
def test_set_refuses_what_makes_no_sense(manage: Manage, change: str) -> None:
    ran = manage("jobtypes", "set", "report.generate", change, "--json")

    assert (ran.code, ran.json["error"]["code"]) == (2, "VALIDATION_ERROR")
    assert not AuditEntry.objects.exists()
