"""Jobs that make jobs and wait for them: real attempts of real handlers, one after another, on a real database."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from pydantic import BaseModel

from jobs import attempts, execution, groups, lifecycle, reconciler
from jobs.handlers import registry
from jobs.handlers.base import AsyncHandler, AsyncJobContext, AttemptFailed, Child, Handler, JobContext
from jobs.models import Attempt, CallbackDelivery, Job, JobGroup, JobLog
from jobs.transitions import Claimable
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from tests.conftest import NODE, WORKER, error_of

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Job]


class Number(BaseModel):
    """What the children are given and give back."""

    n: int = 0


Context = JobContext[Number]
Action = Callable[[Context], Any]


class Leaf(Handler[Number, Number]):
    """Doubles its number; a negative one fails."""

    id = "test:leaf"
    Input = Number
    Output = Number

    def run(self, ctx: Context) -> Number:
        if ctx.input.n < 0:
            raise AttemptFailed(errors.POLICY_DENIED, "negative")
        return Number(n=2 * ctx.input.n)


class Maker(Handler[Number, Number]):
    """Does what the test says."""

    id = "test:maker"
    Input = Number
    Output = Number
    action: ClassVar[Action]

    def run(self, ctx: Context) -> Any:
        return type(self).action(ctx)


class AsyncMaker(AsyncHandler[Number, Number]):
    """Two leaves, in an event loop."""

    id = "test:async-maker"
    Input = Number
    Output = Number

    async def arun(self, ctx: AsyncJobContext[Number]) -> Number:
        try:
            if not ctx.children:
                ctx.spawn(leaves(1, 2))
        except Exception as error:
            raise AssertionError("`except Exception` must let a spawn pass") from error
        return Number(n=sum(child.result["n"] for child in ctx.children))


def leaves(*numbers: int) -> list[Child]:
    return [Child(type="leaf", name=f"leaf {n}", input=Number(n=n)) for n in numbers]


def add_up(*numbers: int, **how: Any) -> Action:
    """Spawn a leaf a number, then add up what succeeded."""

    def action(ctx: Context) -> Number:
        if not ctx.children:
            ctx.spawn(leaves(*numbers), **how)
        return Number(n=sum(child.result["n"] for child in ctx.children if child.succeeded))

    return action


@pytest.fixture
def maker(make_type: Any, make_job: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """`maker(action, **job)`: a job that does it; run nothing yet."""
    monkeypatch.setitem(registry.installed(), Maker.id, Maker())
    monkeypatch.setitem(registry.installed(), Leaf.id, Leaf())
    make_type("leaf", handler=Leaf.id)
    make_type("maker", handler=Maker.id)

    def make(action: Action, **fields: Any) -> Job:
        Maker.action = staticmethod(action)
        return make_job("maker", **fields)

    return make


def run(job: Job) -> Job:
    """One attempt, of a job that a worker would get."""
    job = now(job)
    assert job.published_at is not None
    execution.run_attempts([[Claimable(job.id, job.fence, WORKER, None)]])
    return now(job)


def run_all() -> int:
    """As long as there is one, the next job that is in the window. Returns how many attempts that took."""
    count = 0
    while job := Job.objects.filter(published_at__isnull=False).order_by("turn_at").first():
        run(job)
        count += 1
    return count


def now(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def children(job: Job) -> list[Job]:
    return list(Job.objects.filter(group__parent=job).order_by("group__series", "group__phase", "created_at"))


def states(*jobs: Job) -> list[str]:
    return [now(job).status for job in jobs]


def log(job: Job) -> list[str]:
    return list(JobLog.objects.filter(job=job).values_list("message", flat=True))


def test_a_job_goes_on_with_what_its_children_came_to(maker: Any) -> None:
    seen: list[Any] = []

    def action(ctx: Context) -> Any:
        seen.append([(child.name, child.status, child.result) for child in ctx.children])
        return add_up(3, 1, 2)(ctx)

    parent = run(maker(action, max_attempts=1))
    assert (parent.status, parent.attempts, parent.waiting_on, parent.lease_expires_at) == ("queued", 0, 1, None)
    assert parent.published_at is None
    run_all()

    parent = now(parent)
    assert (parent.status, parent.result, parent.attempts) == ("succeeded", {"n": 12}, 1)
    assert seen == [[], [(f"leaf {n}", "succeeded", {"n": 2 * n}) for n in (3, 1, 2)]]
    assert list(Attempt.objects.filter(job=parent).values_list("outcome", flat=True)) == ["suspended", "succeeded"]
    assert log(parent) == [
        "Job created", "Job claimed", "Waiting for 3 jobs", "Children have ended", "Job claimed", "Job succeeded"
    ]  # fmt: skip
    assert JobGroup.objects.get(parent=parent).closed_at is not None


def test_a_coroutine_makes_jobs_too(maker: Any, make_type: Any, make_job: Make, monkeypatch: Any) -> None:
    monkeypatch.setitem(registry.installed(), AsyncMaker.id, AsyncMaker())
    make_type("maker", handler=AsyncMaker.id)
    parent = make_job("maker")
    run_all()

    assert now(parent).result == {"n": 6}


def test_a_later_phase_has_its_own_children_and_state(maker: Any) -> None:
    def action(ctx: Context) -> Number:
        total = (ctx.state or 0) + sum(child.result["n"] for child in ctx.children)
        if total < 10:
            ctx.spawn(leaves(1, 2), state=total)
        return Number(n=total)

    parent = maker(action)
    run_all()

    assert (now(parent).result, now(parent).phase) == ({"n": 12}, 2)
    assert [(child.group.phase if child.group else 0) for child in children(parent)] == [1, 1, 2, 2]


def test_children_of_children_go_up_level_by_level(maker: Any) -> None:
    def action(ctx: Context) -> Number:
        if not ctx.children and ctx.input.n:
            ctx.spawn([Child(type="maker", input={"n": ctx.input.n - 1})] * 2)
        return Number(n=1 + sum(child.result["n"] for child in ctx.children))

    parent = maker(action, input={"n": 3})
    run_all()

    assert now(parent).result == {"n": 15}


def test_a_child_has_its_place_from_its_parent_unless_told(maker: Any, make_type: Any) -> None:
    make_type("keyed", handler=Leaf.id, key_pointer="/n")
    wanted = [
        Child(type="leaf"),
        Child(type="leaf", queue="other", priority=1, timeout_sec=7, max_attempts=3, concurrency_key="b", tags=["t"]),
        Child(type="keyed", input={"n": 4}),
    ]
    parent = maker(lambda ctx: ctx.spawn(wanted), queue="mine", priority=9)
    Job.objects.filter(pk=parent.pk).update(concurrency_key="a")

    run(parent)

    made = children(parent)
    assert [(it.queue, it.priority, it.concurrency_key) for it in made] == [
        ("mine", 9, "a"), ("other", 1, "b"), ("mine", 9, "4")
    ]  # fmt: skip
    assert (made[1].timeout_sec, made[1].max_attempts, made[1].tags) == (7, 3, ["t"])
    assert {it.created_by for it in made} == {f"job {parent.id}"}


def test_the_first_failure_fails_the_parent_and_cancels_the_rest(maker: Any, make_job: Make) -> None:
    parent = maker(add_up(-1, 2, 3), callback_url="https://example.org/hook", max_attempts=3)
    dependant = make_job(input={"depends_on": [str(parent.id)]})
    run(parent)
    first, second, third = children(parent)
    running = lifecycle.claim(Claimable(second.id, 0, worker=WORKER, node=NODE, lease_sec=30))

    run(first)

    assert states(parent, first, second, third) == ["failed", "failed", "cancelled", "cancelled"]
    error = error_of(now(parent))
    assert (error["code"], error["details"]["child"], error["details"]["name"]) == (
        "CHILD_FAILED", str(first.id), "leaf -1"
    )  # fmt: skip
    assert error_of(now(third))["code"] == "PARENT_ENDED"
    assert running is not None
    assert not lifecycle.succeed(second.id, running.fence, result=None)
    assert states(dependant) == ["failed"]
    assert CallbackDelivery.objects.filter(job=parent).count() == 1
    assert JobGroup.objects.get(parent=parent).closed_at is not None


def test_a_cancelled_child_is_a_failure_too(maker: Any) -> None:
    parent = run(maker(add_up(1, 2)))

    lifecycle.cancel(children(parent)[1].id, by="test")

    assert error_of(now(parent))["details"]["status"] == "cancelled"
    assert states(*children(parent)) == ["cancelled", "cancelled"]


def test_a_parent_that_collects_is_given_failures_among_the_results(maker: Any) -> None:
    codes: list[Any] = []

    def action(ctx: Context) -> Any:
        codes.extend(child.error["code"] if child.error else None for child in ctx.children)
        return add_up(1, -1, 2, on_failure="collect")(ctx)

    parent = maker(action)
    run_all()

    assert now(parent).result == {"n": 6}
    assert codes == [None, "POLICY_DENIED", None]


def test_cancelling_a_job_cancels_all_below_it(maker: Any) -> None:
    def action(ctx: Context) -> None:
        ctx.spawn([Child(type="maker")] if ctx.input.n else leaves(1, 2), on_failure="collect")

    top = run(maker(action, input={"n": 1}))
    (middle,) = children(top)
    run(middle)

    lifecycle.cancel(top.id, by="test")

    assert states(top, middle, *children(middle)) == ["cancelled"] * 4
    assert not JobGroup.objects.filter(closed_at=None).exists()


def test_a_large_group_is_cancelled_in_batches(maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "ORPHANS_AT_ONCE", 10)
    parent = run(maker(add_up(*range(45))))

    lifecycle.cancel(parent.id, by="test")

    assert {it.status for it in children(parent)} == {"cancelled"}


def test_what_a_crash_left_undone_the_reconciler_does(maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, failing, cancelled = (run(maker(add_up(1))), run(maker(add_up(-1, 2))), run(maker(add_up(1))))
    with monkeypatch.context() as crash:
        crash.setattr(lifecycle, "settle_groups", lambda ids: 0)
        run(children(going_on)[0])
        run(children(failing)[0])
        lifecycle.cancel(cancelled.id, by="test")
    assert states(going_on, failing, *children(cancelled)) == ["queued"] * 3

    reconciler.reconcile()

    assert now(going_on).published_at is not None
    assert states(failing, *children(failing), *children(cancelled)) == ["failed", "failed", "cancelled", "cancelled"]
    assert reconciler.reconcile().group_steps == 0


def test_a_childs_end_stands_though_its_group_cannot_be_settled(maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = run(maker(add_up(1)))
    (child,) = children(parent)

    def away(_: Any) -> int:
        raise OperationalError("the connection is closed")

    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "settle_groups", away)
        run(child)
    assert states(now(child), now(parent)) == ["succeeded", "queued"]
    assert "Stale attempt ignored" not in log(child)

    reconciler.reconcile()
    run_all()

    assert states(now(parent)) == ["succeeded"]


@pytest.mark.parametrize("round_", range(5))
def test_children_that_end_at_once_let_the_parent_go_on_once(round_: int, maker: Any) -> None:
    parent = run(maker(add_up(1, 2, 3, 4)))
    barrier = threading.Barrier(4)

    def end(child: Job) -> None:
        held = lifecycle.claim(Claimable(child.id, 0, worker=WORKER, node=NODE, lease_sec=30))
        barrier.wait()
        assert held is not None
        lifecycle.succeed(child.id, held.fence, result={"n": 1})
        connection.close()

    threads = [threading.Thread(target=end, args=(child,)) for child in children(parent)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert log(parent).count("Children have ended") == 1
    assert run(parent).result == {"n": 4}


def test_a_stale_attempt_makes_no_children(maker: Any) -> None:
    def action(ctx: Context) -> None:
        lifecycle.cancel(ctx.job_id, by="test")
        ctx.spawn(leaves(1))

    parent = run(maker(action))

    assert (parent.status, children(parent)) == ("cancelled", [])
    assert log(parent)[-1] == "Stale attempt ignored"


def test_a_worker_lost_after_the_children_repeats_only_that_phase(maker: Any) -> None:
    parent = run(maker(add_up(1, 2), max_attempts=2))
    for child in children(parent):
        run(child)
    held = attempts.claim(Claimable(parent.id, now(parent).fence, WORKER, NODE))
    assert held is not None
    lifecycle.lose(parent.id, held.fence, reason="gone")
    Job.objects.filter(pk=parent.pk).update(available_at=parent.created_at)

    reconciler.reconcile()
    run_all()

    assert (now(parent).result, now(parent).attempts, len(children(parent))) == ({"n": 6}, 2, 2)


def test_a_retried_parent_starts_over_and_keeps_its_old_children(maker: Any) -> None:
    parent = maker(add_up(-1))
    run_all()
    assert states(parent) == ["failed"]

    Maker.action = staticmethod(add_up(5))
    lifecycle.reopen(parent.id, by="test")
    run_all()

    assert now(parent).result == {"n": 10}
    assert [(it.status, it.group and it.group.series) for it in children(parent)] == [("failed", 1), ("succeeded", 2)]


def test_a_retried_child_is_waited_for_as_long_as_its_parent_waits(maker: Any) -> None:
    parent = run(maker(add_up(-1, 2, on_failure="collect")))
    first, second = children(parent)
    run(first)
    lifecycle.reopen(first.id, by="test")
    Job.objects.filter(pk=first.pk).update(input={"n": 1})
    run(second)
    assert now(parent).published_at is None

    run(first)
    assert run(parent).result == {"n": 6}


def test_a_child_is_not_retried_under_a_parent_that_goes_on_with_its_failure(maker: Any) -> None:
    parent = run(maker(add_up(-1, on_failure="collect")))
    (child,) = children(parent)
    run(child)

    with pytest.raises(Problem, match="has gone on"):
        lifecycle.reopen(child.id, by="test")


def test_a_child_whose_parent_has_ended_is_retried_for_itself(maker: Any) -> None:
    parent = maker(add_up(-1, 2, on_failure="collect"))
    run_all()
    child = children(parent)[0]

    lifecycle.reopen(child.id, by="test")
    reconciler.reconcile()

    assert run(child).series == 2
    assert states(parent) == ["succeeded"]


def test_limits_of_one_cannot_lock_up_a_parent_and_its_children(maker: Any, make_type: Any) -> None:
    make_type("maker", handler=Maker.id, max_running=1, max_running_per_key=1)

    def action(ctx: Context) -> Number:
        if not ctx.children and ctx.input.n:
            ctx.spawn([Child(type="maker", input={"n": ctx.input.n - 1})] * 2)
        return Number(n=1 + sum(child.result["n"] for child in ctx.children))

    parent = maker(action, input={"n": 2})
    Job.objects.filter(pk=parent.pk).update(concurrency_key="k")
    run_all()

    assert now(parent).result == {"n": 7}


@pytest.mark.parametrize(("on_limit", "survivor"), [("drop_new", 0), ("cancel_running", 2)])
def test_children_of_one_key_take_its_places_as_if_made_one_by_one(
    maker: Any, make_type: Any, on_limit: str, survivor: int
) -> None:
    make_type("leaf", handler=Leaf.id, max_running_per_key=1, on_limit=on_limit)
    wanted = [Child(type="leaf", concurrency_key="k")] * 3

    parent = run(maker(lambda ctx: ctx.spawn(wanted, on_failure="collect")))

    assert [place for place, child in enumerate(children(parent)) if child.status == "queued"] == [survivor]


def test_a_child_with_its_parents_key_does_not_cancel_its_parent(maker: Any, make_type: Any) -> None:
    make_type("maker", handler=Maker.id, max_running_per_key=1, on_limit="cancel_running")

    def action(ctx: Context) -> Number:
        if not ctx.children and ctx.input.n:
            ctx.spawn([Child(type="maker", concurrency_key="k")])
        return Number(n=7)

    parent = maker(action, input={"n": 1})
    Job.objects.filter(pk=parent.pk).update(concurrency_key="k")
    run_all()

    assert now(parent).result == {"n": 7}


def test_a_child_that_is_blocked_when_it_is_made_is_a_failure(maker: Any) -> None:
    parent = run(maker(lambda ctx: ctx.spawn([Child(type="leaf", input={"depends_on": [str(uuid.uuid4())]})])))

    assert error_of(parent)["code"] == "CHILD_FAILED"


@pytest.mark.parametrize(
    ("wanted", "state", "code", "says"),
    [
        ([], None, "CHILD_INVALID", "at least one"),
        (
            [Child(type="leaf"), Child(type="nobody.knows")],
            None,
            "CHILD_INVALID",
            "1 of 2 children are refused, first 1",
        ),
        ([Child(type="leaf", input={"n": "x"})], None, "CHILD_INVALID", "input.n"),
        ([Child(type="leaf", queue="No such queue!")], None, "CHILD_INVALID", "queue must be"),
        ([Child(type="leaf", priority=11)], None, "CHILD_INVALID", "priority"),
        ([Child(type="leaf")], float("nan"), "CHILD_INVALID", "JSON"),
        ([Child(type="leaf")] * 1001, None, "GROUP_LIMIT", "1001 children"),
        ([Child(type="leaf")], "x" * groups.MAX_SPAWN_BYTES, "GROUP_LIMIT", "bytes of inputs and state"),
    ],
    ids=["none", "unknown type", "input", "queue", "priority", "nan", "many", "large"],
)
def test_children_that_cannot_be_made_fail_the_job_for_good(
    maker: Any, wanted: list[Child], state: Any, code: str, says: str
) -> None:
    parent = run(maker(lambda ctx: ctx.spawn(wanted, state=state), max_attempts=5))

    assert (parent.status, error_of(parent)["code"], parent.attempts) == ("failed", code, 1)
    assert says in error_of(parent)["message"]
    assert not JobGroup.objects.exists()
    assert children(parent) == []


def test_an_unknown_policy_is_the_handlers_mistake(maker: Any) -> None:
    parent = run(maker(lambda ctx: ctx.spawn(leaves(1), on_failure="shrug")))

    assert error_of(parent)["code"] == "HANDLER_ERROR"


def test_children_are_at_most_ten_deep(maker: Any) -> None:
    parent = maker(lambda ctx: ctx.spawn([Child(type="maker", name="deeper")], on_failure="fail"))
    run_all()

    assert JobGroup.objects.count() == groups.MAX_DEPTH
    error = error_of(now(parent))
    while error["code"] == "CHILD_FAILED":
        error = error["details"]["error"]
    assert error["code"] == "GROUP_LIMIT"


def test_a_job_that_only_makes_children_is_stopped(maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_PHASES", 3)
    parent = maker(lambda ctx: ctx.spawn(leaves(1)))
    run_all()

    assert (error_of(now(parent))["code"], now(parent).phase) == ("GROUP_LIMIT", 3)


def test_results_too_large_to_hold_fail_the_parent_before_its_handler_runs(
    maker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_RESULTS_BYTES", 10)
    calls: list[int] = []

    def action(ctx: Context) -> Any:
        calls.append(1)
        return add_up(1, 2)(ctx)

    parent = maker(action, max_attempts=5)
    run_all()

    assert (error_of(now(parent))["code"], len(calls)) == ("GROUP_LIMIT", 1)


def test_the_end_of_a_child_is_two_statements_and_of_another_job_one(maker: Any) -> None:
    parent = run(maker(add_up(1, 2)))
    child = children(parent)[0]
    for job, count in ((child, 2), (maker(add_up(1)), 1)):
        held = lifecycle.claim(Claimable(job.id, 0, worker=WORKER, node=NODE, lease_sec=30))
        assert held is not None

        with CaptureQueriesContext(connection) as context:
            lifecycle.succeed(job.id, held.fence, result=None)

        assert len(context.captured_queries) == count
