"""Jobs of anybody's handlers that a person must approve of, with what else a job may wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs import lifecycle, reconciler
from jobs.approvals import decisions
from jobs.approvals.models import Approval
from jobs.handlers.base import Child
from jobs.models import Job
from tests.jobs.test_groups import Action, Context, Number, maker, now, run, run_all

__all__ = ["maker"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(maker: Callable[..., Job], make_job: Callable[..., Job]) -> Callable[..., tuple[Job, Job]]:
    """`held(n)`: a job whose child waits for a person and for the second job, which doubles n."""

    def make(n: int = 1, reason: str = "It is dear.") -> tuple[Job, Job]:
        first = make_job("leaf", input={"n": n})

        def action(ctx: Context) -> Any:
            if ctx.children:
                return Number(n=sum(it.succeeded for it in ctx.children))
            child = Child(type="leaf", input={"n": 5, "depends_on": [str(first.pk)]}, approval=reason)
            return ctx.spawn([child], on_failure="collect")

        does: Action = action
        return run(maker(does)), first

    return make


def approve() -> Job:
    """The child, approved."""
    approval = Approval.objects.select_related("job").get()
    return decisions.approve(approval, arguments_hash=approval.arguments_hash, by="test").job


@pytest.mark.parametrize("person_is_first", [True, False])
def test_it_waits_for_a_person_and_for_what_it_depends_on(person_is_first: bool, held: Any) -> None:
    job, _ = held()

    if person_is_first:
        assert (approve().waiting_on, now(job).status) == (1, "queued")
        run_all()
    else:
        run_all()
        assert (Approval.objects.get().job.waiting_on, now(job).status) == (1, "queued")
        approve()
        run_all()

    assert (now(job).status, now(job).result) == ("succeeded", {"n": 1})


def test_what_can_never_begin_is_nobodys_to_approve(held: Any) -> None:
    job, first = held()

    lifecycle.cancel(first.pk, by="test")
    assert reconciler.reconcile().approvals_closed == 1
    run_all()

    approval = Approval.objects.select_related("job").get()
    assert (approval.state, approval.job.status, approval.decided_by) == ("withdrawn", "failed", "approvals")
    assert now(job).status == "succeeded"


def test_a_reason_may_hold_what_postgres_cannot_store(held: Any) -> None:
    held(reason="a\0b")

    assert Approval.objects.get().reason == "a\ufffdb"
