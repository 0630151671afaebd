"""GET /v1/jobs/{id}/tree, and what explain says of a job that waits for its children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from jobs import execution, lifecycle
from jobs.handlers import registry
from jobs.handlers.base import Child, Handler, JobContext
from jobs.models import Job
from jobs.transitions import Claimable
from tests.apiclient import ADMIN, GPU_ONLY, Api
from tests.conftest import WORKER

Make = Callable[..., Job]


class Wanted(BaseModel):
    """children: name → what it makes in turn. queue: of the children."""

    children: dict[str, Any] = {}
    queue: str | None = None


class Planter(Handler[Wanted, BaseModel]):
    """Makes the children it is told of."""

    id = "test:planter"
    Input = Wanted
    Output = BaseModel

    def run(self, ctx: JobContext[Wanted]) -> Any:
        wanted = ctx.input
        if wanted.children and not ctx.children:
            ctx.spawn(
                [
                    Child(type="planter", name=name, queue=wanted.queue, input={"children": below})
                    for name, below in wanted.children.items()
                ],
                on_failure="collect",
            )
        return BaseModel()


@pytest.fixture
def plant(make_type: Any, make_job: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """A job that has made what it was told; its children have as well, unless `deep` is false."""
    monkeypatch.setitem(registry.installed(), Planter.id, Planter())
    make_type("planter", handler=Planter.id)

    def make(children: dict[str, Any], *, deep: bool = True, root_queue: str = "default", **wanted: Any) -> Job:
        job = make_job("planter", queue=root_queue, input={"children": children, **wanted})
        waiting = [job]
        while waiting:
            one = waiting.pop(0)
            one.refresh_from_db()
            execution.run_attempts([[Claimable(one.id, one.fence, WORKER, None)]])
            made = Job.objects.filter(group__parent=one).order_by("created_at")
            waiting += [child for child in made if deep and child.input and child.input["children"]]
        job.refresh_from_db()
        return job

    return make


def shape(node: dict[str, Any]) -> tuple[str | None, str, list[Any]]:
    return node["name"], node["status"], [shape(child) for child in node["children"]]


def tree(api: Api, job: Job, *, limit: int = 1000, key: str = ADMIN) -> dict[str, Any]:
    answer = api.get(f"/v1/jobs/{job.id}/tree?limit={limit}", key=key)
    assert answer.status == 200, answer.text
    return dict(answer.json)


pytestmark = pytest.mark.django_db(transaction=True)


def test_a_tree_holds_children_and_theirs_in_the_order_they_were_made(api: Api, plant: Callable[..., Job]) -> None:
    root = plant({"z": {"deep": {}}, "aa": {}})  # jsonb puts the short name first

    found = tree(api, root)

    assert shape(found["tree"]) == (
        None, "queued", [("z", "queued", [("deep", "queued", [])]), ("aa", "queued", [])],
    )  # fmt: skip
    assert (found["count"], found["is_cut"]) == (4, False)
    assert found["tree"]["child_count"] == 2
    assert [(child["series"], child["phase"]) for child in found["tree"]["children"]] == [(1, 1), (1, 1)]


def test_a_job_that_made_none_is_a_tree_of_one(api: Api, make_job: Make) -> None:
    job = make_job()

    found = tree(api, job)

    assert (found["tree"]["id"], found["tree"]["children"], found["count"]) == (str(job.id), [], 1)


def test_a_tree_is_cut_at_the_limit_from_below(api: Api, plant: Callable[..., Job]) -> None:
    root = plant({"a": {"deep": {}}, "b": {}})

    found = tree(api, root, limit=3)

    assert shape(found["tree"]) == (None, "queued", [("a", "queued", []), ("b", "queued", [])])
    assert (found["count"], found["is_cut"]) == (3, True)
    assert found["tree"]["children"][0]["child_count"] == 1


def test_what_a_key_may_not_see_is_not_in_its_tree(api: Api, plant: Callable[..., Job]) -> None:
    root = plant({"a": {}}, root_queue="gpu", queue="default")

    found = tree(api, root, key=GPU_ONLY)

    assert (found["tree"]["children"], found["tree"]["child_count"], found["count"]) == ([], 0, 1)


def test_no_such_job_is_a_404(api: Api) -> None:
    assert api.get("/v1/jobs/00000000-0000-4000-8000-000000000000/tree").status == 404


def test_explain_names_the_children_that_a_job_waits_for(api: Api, plant: Callable[..., Job]) -> None:
    root = plant({"a": {}, "b": {}}, deep=False)
    ended = Job.objects.filter(group__parent=root, child_name="a").get()
    left = Job.objects.filter(group__parent=root, child_name="b").get()
    lifecycle.cancel(ended.id, by="test")

    reasons = {reason["code"]: reason for reason in api.get(f"/v1/jobs/{root.id}/explain").json["reasons"]}

    assert "WAITING_FOR_DEPENDENCIES" not in reasons
    waiting = reasons["WAITING_FOR_CHILDREN"]
    assert waiting["details"] == {
        "count": 1, "open_children": [{"id": str(left.id), "type": "planter", "status": "queued"}],
    }  # fmt: skip
    assert str(left.id) in waiting["message"]
