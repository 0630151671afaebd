"""The admin's pages of callback deliveries, nodes and beat's tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from access.models import AuditEntry
from jobs.models import CallbackDelivery, Job, Node
from tests.admin.conftest import Admin, SignIn

CALLBACKS, NODES, TASKS = "jobs/callbackdelivery/", "jobs/node/", "django_celery_beat/periodictask/"


@pytest.fixture
def delivery(make_job: Callable[..., Job]) -> Callable[..., CallbackDelivery]:
    def make(state: str = "dead") -> CallbackDelivery:
        job = make_job()
        return CallbackDelivery.objects.create(
            job=job, series=1, url="https://hooks.example.org/", state=state, payload={"id": str(job.id)},
            last_error="gave up",
        )  # fmt: skip

    return make


def test_dead_callbacks_are_made_due_again_and_pending_ones_are_told(
    admin: Admin, delivery: Callable[..., CallbackDelivery]
) -> None:
    dead, pending = delivery(), delivery("pending")

    page = admin.act(CALLBACKS, "redeliver", dead.pk, pending.pk)

    dead.refresh_from_db()
    assert dead.state == "pending"
    assert AuditEntry.objects.get().actor == "user:root"
    assert f"Due again: callback delivery {dead.pk}" in page
    assert "Not redelivered, because the callback is pending" in page


def test_callbacks_are_found_by_their_job_and_state(admin: Admin, delivery: Callable[..., CallbackDelivery]) -> None:
    one, two = delivery(), delivery("skipped")

    def shown(query: str) -> set[int]:
        page = admin.page(f"{CALLBACKS}?{query}")
        return {it.pk for it in (one, two) if f"{CALLBACKS}{it.pk}/change/" in page}

    assert shown(f"q={str(one.job_id)[:8]}") == {one.pk}
    assert shown("q=https") == set()
    assert shown("state__exact=skipped") == {two.pk}
    assert str(two.job_id) in admin.page(f"{CALLBACKS}{two.pk}/change/")


def test_who_may_only_view_callbacks_redelivers_none(
    sign_in: SignIn, delivery: Callable[..., CallbackDelivery]
) -> None:
    dead = delivery()

    sign_in("view_callbackdelivery").act(CALLBACKS, "redeliver", dead.pk)

    dead.refresh_from_db()
    assert dead.state == "dead"


def test_nodes_are_shown_and_not_changed(admin: Admin, db: None) -> None:
    node = Node.objects.create(
        kind="worker", name="w1", host="h/boot", pid=1, pid_created_at=0, queues=["gpu"], version="0"
    )  # fmt: skip

    page = admin.page(NODES)

    assert "gpu" in page
    assert "h/boot" not in page
    assert admin.post(f"/admin/{NODES}{node.pk}/delete/", {"post": "yes"}).status_code == 403


def test_changes_of_beat_s_tasks_are_recorded(admin: Admin, db: None) -> None:
    every = IntervalSchedule.objects.create(every=1, period="hours")
    task = PeriodicTask.objects.create(name="tidy", task="jobs.prune", interval=every)
    form = {"name": "tidy", "task": "jobs.prune", "interval": every.pk, "args": "[]", "kwargs": "{}", "headers": "{}"}

    assert "tidy" in admin.page(TASKS)
    admin.post(f"/admin/{TASKS}{task.pk}/change/", form)

    task.refresh_from_db()
    assert not task.enabled
    assert AuditEntry.objects.get().action == "periodictask.updated"


def test_djangos_own_checks_find_nothing_wrong(admin: Admin) -> None:
    assert admin.page("")  # loads the admin's pages, so that they are checked too
    assert len(site._registry) > 10

    assert run_checks() == []


def test_who_signs_in_at_the_login_page_itself_comes_to_the_admin(db: None) -> None:
    User.objects.create_superuser("root", password="the password of root")

    answer = Client().post("/admin/login/", {"username": "root", "password": "the password of root"})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
