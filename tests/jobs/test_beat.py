"""Beat's heartbeat, on the real Redis and the real tables."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import beat, dispatch
from jobs.beat import Scheduler
from rauskuclaw import redis
from rauskuclaw.celery import app
from rauskuclaw.wire import SYSTEM_QUEUE, redis_key

pytestmark = pytest.mark.django_db(transaction=True)  # the scheduler closes old connections


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(beat, "time", clock)
    redis.client().flushdb()
    return clock


def rung() -> list[str]:
    """The tasks that wait for a system worker, oldest first; they wait no longer."""
    key = redis_key(SYSTEM_QUEUE, 0)
    messages = redis.client().lrange(key, 0, -1)
    redis.client().delete(key)
    return [json.loads(message)["headers"]["task"] for message in reversed(messages)]


def due_each(seconds: float) -> list[str]:
    """The heartbeat's tasks with at most this interval."""
    return [entry["task"] for entry in app.conf.beat_schedule.values() if entry["schedule"] <= seconds]


def test_rings_everything_at_the_start_and_each_task_at_its_interval(clock: Clock) -> None:
    scheduler = Scheduler(app=app)

    wait_sec = scheduler.tick()

    assert {"jobs.reconcile", "jobs.deliver_callbacks", "jobs.prune", "metrics.count"} <= set(due_each(3600))
    assert rung() == due_each(3600)
    assert 0 < wait_sec <= 1
    clock.now += 0.5
    scheduler.tick()
    assert rung() == []
    clock.now += 0.5
    scheduler.tick()
    assert rung() == due_each(1)


def test_a_beat_that_slept_rings_once_and_not_for_each_second(clock: Clock) -> None:
    scheduler = Scheduler(app=app)
    scheduler.tick()
    rung()

    clock.now += 60
    for _ in range(3):
        scheduler.tick()

    assert rung() == due_each(60)


def test_no_other_beats_clock_stops_the_heartbeat(clock: Clock) -> None:
    every = IntervalSchedule.objects.create(every=1, period="seconds")
    tomorrow = timezone.now() + timedelta(days=1)
    PeriodicTask.objects.create(name="reconcile", task="jobs.reconcile", interval=every, last_run_at=tomorrow)

    Scheduler(app=app).tick()

    assert "jobs.reconcile" in rung()
    assert not PeriodicTask.objects.filter(task="jobs.reconcile").exists()


def test_what_an_operator_plans_in_the_admin_is_rung_beside_the_heartbeat(clock: Clock) -> None:
    every = IntervalSchedule.objects.create(every=10, period="seconds")
    planned = PeriodicTask.objects.create(name="forget early", task="jobs.prune", interval=every)
    off = PeriodicTask.objects.create(name="not now", task="schedules.tick", interval=every, enabled=False)
    long_ago = timezone.now() - timedelta(days=1)
    PeriodicTask.objects.filter(pk__in=[planned.pk, off.pk]).update(last_run_at=long_ago)
    scheduler = Scheduler(app=app)
    rung_by_heart = due_each(3600)

    scheduler.tick()

    assert sorted(rung()) == sorted([*rung_by_heart, "jobs.prune"])


def test_rings_that_nobody_takes_do_not_pile_up(clock: Clock) -> None:
    for _ in range(dispatch.MAX_QUEUED_RINGS + 5):
        dispatch.ring("jobs.reconcile")

    assert len(rung()) == dispatch.MAX_QUEUED_RINGS
