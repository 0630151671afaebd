"""What the tick tells counters, doctor and status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rauskuclaw.operations.checks.stack import schedules
from rauskuclaw.operations.findings import Level
from schedules import dispatch, tasks
from schedules.dispatch import tick
from schedules.models import Schedule
from tests.apiclient import Api
from tests.operations.conftest import Manage, manage
from tests.schedules.conftest import Make

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["manage"]


def found() -> dict[str, Level]:
    return {finding.check: finding.level for finding in schedules()}


def test_jobs_and_failed_ticks_are_counted(api: Api, make_schedule: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make_schedule()
    tasks.tick()

    def fail(*_: object) -> None:
        raise RuntimeError("of no use")

    monkeypatch.setattr(dispatch, "_batch", fail)
    with pytest.raises(RuntimeError):
        tasks.tick()

    counters = api.get("/v1/runtime/metrics").json["metrics"]["counters"]
    assert (counters["schedule.dispatched_jobs"], counters["schedule.tick_failed"]) == (3, 1)


def test_doctor_and_status_see_late_and_faulty_schedules(make_schedule: Make, manage: Manage) -> None:
    assert found() == {}
    schedule = make_schedule()
    assert found() == {"schedules": Level.OK}

    Schedule.objects.update(next_run_at=datetime.now(UTC) - timedelta(minutes=5))
    assert found() == {"schedules": Level.FAIL}
    assert manage("status", "--json").json["schedules"]["lag_sec"] >= 300
    assert "due for 5 min" in manage("status").out

    Schedule.objects.filter(pk=schedule.pk).update(type="no.such")
    tick()
    assert found() == {"schedules": Level.OK, "schedules.faults": Level.WARN}
    assert "1 at fault" in manage("status").out


def test_doctor_says_that_the_switch_is_off(make_schedule: Make, configure: object) -> None:
    make_schedule()
    assert callable(configure)
    configure(SCHEDULER_ENABLED="0")

    assert found() == {"schedules": Level.WARN}
