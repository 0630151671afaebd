"""The admin's pages of queues."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from access.models import AuditEntry
from jobs.models import Job, Queue
from tests.admin.conftest import Admin, SignIn

QUEUES = "jobs/queue/"


def test_every_queue_is_listed_also_one_that_nobody_has_set_anything_for(
    admin: Admin, make_job: Callable[..., Job]
) -> None:
    make_job(queue="gpu")

    page = admin.page(QUEUES)

    assert f"{QUEUES}gpu/change/" in page
    assert "none" in page
    assert not AuditEntry.objects.exists()


def test_queues_are_paused_and_resumed_by_an_action(admin: Admin, db: None) -> None:
    Queue.objects.bulk_create([Queue(name="gpu"), Queue(name="cpu")])

    page = admin.act(QUEUES, "pause", "gpu", "cpu")
    assert "Paused: queue cpu, queue gpu" in page
    assert Queue.objects.filter(paused=True).count() == 2

    admin.act(QUEUES, "resume", "gpu")
    assert list(Queue.objects.filter(paused=True).values_list("name", flat=True)) == ["cpu"]
    assert AuditEntry.objects.filter(action="queue.updated", actor="user:root").count() == 3


def test_a_limit_is_set_and_taken_away(admin: Admin, db: None) -> None:
    Queue.objects.create(name="gpu")

    admin.post(f"/admin/{QUEUES}gpu/change/", {"max_running": "4"})
    assert Queue.objects.get().max_running == 4
    admin.post(f"/admin/{QUEUES}gpu/change/", {"max_running": ""})
    assert Queue.objects.get().max_running is None
    assert [entry.details for entry in AuditEntry.objects.order_by("id")] == [
        {"max_running": [None, 4]}, {"max_running": [4, None]},
    ]  # fmt: skip


def test_a_queue_can_be_set_up_before_it_is_used(admin: Admin, db: None) -> None:
    admin.post(f"/admin/{QUEUES}add/", {"name": "gpu:a100", "paused": "on", "max_running": "2"})

    queue = Queue.objects.get()
    assert (queue.name, queue.paused, queue.max_running) == ("gpu:a100", True, 2)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"name": "no queue"}, "1 to 80 of"),
        ({"name": "gpu", "max_running": "1000001"}, "less than or equal to 1000000"),
    ],
)
def test_a_fault_is_told_beside_its_field(admin: Admin, db: None, form: dict[str, str], told: str) -> None:
    assert told in admin.post(f"/admin/{QUEUES}add/", form).content.decode()
    assert not Queue.objects.exists()


def test_queues_are_never_deleted(admin: Admin, db: None) -> None:
    Queue.objects.create(name="gpu")

    assert admin.post(f"/admin/{QUEUES}gpu/delete/", {"post": "yes"}).status_code == 403


def test_who_may_only_view_queues_changes_nothing(sign_in: SignIn) -> None:
    Queue.objects.create(name="gpu")
    anna = sign_in("view_queue")

    anna.act(QUEUES, "pause", "gpu")

    assert anna.post(f"/admin/{QUEUES}gpu/change/", {"paused": "on"}).status_code == 403
    assert not Queue.objects.get().paused
    assert "gpu" in anna.page(QUEUES)
