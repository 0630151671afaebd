"""What a person decides about a model's calls of tools: over the API, with real attempts of real handlers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.models import AuditEntry
from jobs import lifecycle, reconciler
from jobs.approvals import decisions
from jobs.approvals.models import Approval, ApprovalState
from jobs.explain import explain
from jobs.models import Job
from rauskuclaw.errors import Problem
from tests.apiclient import GPU_ONLY, READER, Api
from tests.approvals.conftest import WRITE, Asked
from tests.conftest import error_of
from tests.jobs.test_groups import log, now, run_all
from tests.modelserver import ModelServer, Reply, ToolCall

pytestmark = pytest.mark.django_db(transaction=True)
Written = Callable[[], str | None]


def pending(api: Api) -> dict[str, Any]:
    [approval] = api.get("/v1/approvals?state=pending").json["approvals"]
    return dict(approval)


def decide(api: Api, approval: dict[str, Any], verb: str, **options: Any) -> Any:
    body = {"arguments_hash": approval["arguments_hash"]} if verb == "approve" else {}
    return api.post(f"/v1/approvals/{approval['job_id']}/{verb}", body | options.pop("body", {}), **options)


def told(models: ModelServer) -> dict[str, Any]:
    """What the model was told of its last call."""
    return dict(json.loads(models.calls[-1].body["messages"][-1]["content"]))


def test_a_call_waits_for_a_person_and_no_worker(api: Api, asked: Asked, written: Written) -> None:
    job = asked()

    approval = pending(api)

    assert (job.status, job.lease_expires_at, written()) == ("queued", None, None)
    assert (approval["name"], approval["type"], approval["parent_id"]) == (
        "data_write_file", "data.write_file", str(job.pk)
    )  # fmt: skip
    assert approval["input"] == {"path": "notes.txt", "content": "Friday", "create_if_missing": True}
    assert (approval["reason"], approval["requested_by"]) == ("every call of data_write_file needs approval", "test")
    assert reconciler.reconcile().published == 0
    assert log(job)[-1] == "A job waits for approval"
    assert log(Job.objects.get(pk=approval["job_id"])) == ["Job created", "Waiting for approval"]


def test_what_is_approved_is_run_and_the_model_goes_on(
    api: Api, asked: Asked, written: Written, models: ModelServer
) -> None:
    job = asked()

    answer = decide(api, pending(api), "approve", body={"note": "Fine."})
    run_all()

    assert (answer.status, answer.json["approval"]["state"], answer.json["approval"]["decided_by"]) == (
        200, "approved", "key:ci"
    )  # fmt: skip
    assert (now(job).status, written(), told(models)["ok"]) == ("succeeded", "Friday", True)
    assert api.get("/v1/approvals?state=pending").json["approvals"] == []


def test_what_is_denied_is_not_run_and_the_model_is_told_why(
    api: Api, asked: Asked, written: Written, models: ModelServer
) -> None:
    job = asked()

    answer = decide(api, approval := pending(api), "deny", body={"note": "Not there."})
    run_all()

    assert (answer.status, answer.json["approval"]["state"], answer.json["approval"]["note"]) == (
        200, "denied", "Not there."
    )  # fmt: skip
    assert (now(job).status, written()) == ("succeeded", None)
    assert told(models)["error"] == {"code": "APPROVAL_DENIED", "message": "a person refused it: Not there."}
    child = Job.objects.get(pk=approval["job_id"])
    assert (child.status, error_of(child)["code"], child.fence) == ("cancelled", "APPROVAL_DENIED", 0)


def test_a_call_that_was_denied_is_not_asked_for_again(api: Api, asked: Asked, models: ModelServer) -> None:
    assert isinstance(WRITE.arguments, dict)
    turned = ToolCall(WRITE.name, dict(reversed(WRITE.arguments.items())))
    job = asked(Reply(WRITE), Reply(turned), "Then not.")

    decide(api, pending(api), "deny")
    run_all()

    assert now(job).status == "succeeded"
    assert (told(models)["error"]["code"], Approval.objects.count()) == ("APPROVAL_DENIED", 1)


def test_a_call_that_nobody_approved_in_time_is_not_asked_for_again(
    api: Api, asked: Asked, models: ModelServer
) -> None:
    job = asked(Reply(WRITE), Reply(WRITE), "Then not.")

    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    reconciler.reconcile()
    run_all()

    assert now(job).status == "succeeded"
    assert (told(models)["error"]["code"], Approval.objects.count()) == ("APPROVAL_DENIED", 1)


def test_nobody_deciding_is_a_denial(api: Api, asked: Asked, written: Written, models: ModelServer) -> None:
    job = asked()
    assert reconciler.reconcile().approvals_closed == 0
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    late = decide(api, pending(api), "approve")
    assert reconciler.reconcile().approvals_closed == 1
    run_all()

    assert (late.status, late.code) == (409, "CONFLICT")
    assert (now(job).status, written(), told(models)["error"]["code"]) == ("succeeded", None, "APPROVAL_EXPIRED")
    assert Approval.objects.get().state == ApprovalState.EXPIRED


def test_it_expires_when_the_setting_says(asked: Asked) -> None:
    asked(AGENT_APPROVAL_TIMEOUT_SEC=600)

    approval = Approval.objects.get()

    assert approval.expires_at - approval.requested_at == pytest.approx(
        timedelta(seconds=600), abs=timedelta(seconds=1)
    )


@pytest.mark.parametrize("other", ["input", "queue", "type"])
def test_an_approval_is_of_exactly_what_was_shown(other: str, api: Api, asked: Asked, written: Written) -> None:
    asked()
    approval = pending(api)
    # What no code of ours does: an approval must hold even against whoever can write the row.
    value = {"path": "notes.txt", "content": "Monday"} if other == "input" else "elsewhere"
    Job.objects.filter(pk=approval["job_id"]).update(**{other: value})

    answer = decide(api, approval, "approve")
    run_all()

    assert (answer.status, written(), Approval.objects.get().state) == (409, None, "pending")


def test_another_hash_is_refused(api: Api, asked: Asked) -> None:
    asked()
    approval = pending(api)

    wrong = decide(api, approval, "approve", body={"arguments_hash": "0" * 64})
    none = api.post(f"/v1/approvals/{approval['job_id']}/approve", {})

    assert (wrong.status, wrong.code) == (409, "APPROVAL_MISMATCH")
    assert (none.status, none.code, none.json["error"]["details"]["errors"][0]["path"]) == (
        400, "VALIDATION_ERROR", "arguments_hash"
    )  # fmt: skip


def test_a_decision_is_final(api: Api, asked: Asked) -> None:
    asked()
    approval = pending(api)
    decide(api, approval, "approve")

    again, other = decide(api, approval, "approve"), decide(api, approval, "deny")

    assert (again.status, other.status, again.code) == (409, 409, "CONFLICT")
    assert "approved by key:ci" in again.json["error"]["message"]


def test_of_many_who_decide_at_once_one_does(api: Api, asked: Asked) -> None:
    asked()
    approval = Approval.objects.select_related("job").get()
    # A dependency besides the person: approving twice would take it away too.
    Job.objects.filter(pk=approval.pk).update(waiting_on=2)
    gate = threading.Barrier(8)

    def run(n: int) -> bool:
        gate.wait()
        try:
            if n % 2:
                decisions.deny(approval, by=f"person {n}")
            else:
                decisions.approve(approval, arguments_hash=approval.arguments_hash, by=f"person {n}")
        except Problem:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(run, range(8)))

    job = Job.objects.get(pk=approval.pk)
    state = Approval.objects.get().state
    assert sum(done) == 1
    assert (state, job.status, job.waiting_on) in [("approved", "queued", 1), ("denied", "cancelled", 2)]
    assert AuditEntry.objects.filter(action__in=["approval.approved", "approval.denied"]).count() == 1


def test_each_step_is_audited(api: Api, asked: Asked) -> None:
    job = asked()
    approval = pending(api)
    decide(api, approval, "approve", body={"note": "Fine."})

    entries = AuditEntry.objects.filter(action__startswith="approval.").order_by("id")

    assert [(it.actor, it.action, it.object_id) for it in entries] == [
        (f"job {job.pk}", "approval.requested", approval["job_id"]),
        ("key:ci", "approval.approved", approval["job_id"]),
    ]
    assert [it.details["arguments_hash"] for it in entries] == [approval["arguments_hash"]] * 2


def test_cancelling_who_asks_withdraws_the_question(api: Api, asked: Asked) -> None:
    job = asked()
    approval = pending(api)

    lifecycle.cancel(job.pk, by="test")
    late = decide(api, approval, "approve")
    reconciler.reconcile()

    assert (late.status, Approval.objects.get().state) == (409, "withdrawn")
    assert AuditEntry.objects.filter(action="approval.withdrawn", object_id=approval["job_id"]).count() == 1
    assert Job.objects.get(pk=approval["job_id"]).status == "cancelled"


def test_what_nobody_waits_for_any_more_cannot_be_approved(api: Api, asked: Asked) -> None:
    job = asked()
    approval = pending(api)
    # As the parent's cancel leaves it until the children are cancelled, which is another transaction.
    Job.objects.filter(pk=job.pk).update(status="cancelled", finished_at=timezone.now(), waiting_on=0)

    late = decide(api, approval, "approve")

    assert (late.status, late.code) == (409, "CONFLICT")
    assert Job.objects.get(pk=approval["job_id"]).waiting_on == 1


def test_a_denied_job_is_not_run_by_a_retry(api: Api, asked: Asked) -> None:
    asked()
    approval = pending(api)
    decide(api, approval, "deny")

    answer = api.post(f"/v1/jobs/{approval['job_id']}/retry")
    told = [it.remedy for it in explain(Job.objects.get(pk=approval["job_id"]))]

    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert told[0] == "Retry the job that made it."


def test_a_job_that_was_cancelled_unseen_is_not_run_by_a_retry(api: Api, asked: Asked) -> None:
    asked()
    approval = pending(api)
    api.post(f"/v1/jobs/{approval['job_id']}/cancel")

    answers = [api.post(f"/v1/jobs/{approval['job_id']}/retry")]
    reconciler.reconcile()
    answers.append(api.post(f"/v1/jobs/{approval['job_id']}/retry"))

    assert [it.status for it in answers] == [409, 409]
    assert decide(api, approval, "approve").status == 409


def test_explain_says_who_is_waited_for(api: Api, asked: Asked) -> None:
    asked()
    approval = pending(api)

    reasons = [it.as_json() for it in explain(Job.objects.get(pk=approval["job_id"]))]

    [reason] = [it for it in reasons if it["code"] == "WAITING_FOR_APPROVAL"]
    assert reason["details"]["arguments_hash"] == approval["arguments_hash"]
    assert "WAITING_FOR_DEPENDENCIES" not in [it["code"] for it in reasons]


def test_who_may_not_write_or_see_the_queue_may_not_decide(api: Api, asked: Asked) -> None:
    asked()
    approval = pending(api)

    assert decide(api, approval, "approve", key=READER).status == 403
    assert api.get(f"/v1/approvals/{approval['job_id']}", key=READER).status == 200
    assert decide(api, approval, "approve", key=GPU_ONLY).status == 404
    assert api.get("/v1/approvals", key=GPU_ONLY).json["approvals"] == []


def test_lists_are_paged_and_filtered(api: Api, asked: Asked) -> None:
    asked(Reply(WRITE, ToolCall("data_write_file", {"path": "b", "content": "b"})), "Done.")

    first = api.get("/v1/approvals?limit=1").json
    second = api.get(f"/v1/approvals?limit=1&cursor={first['next_cursor']}").json

    assert {it["input"]["path"] for it in first["approvals"] + second["approvals"]} == {"notes.txt", "b"}
    assert second["next_cursor"] is None
    assert api.get("/v1/approvals?state=denied").json["count"] == 0
    assert api.get("/v1/approvals?state=nonsense").code == "VALIDATION_ERROR"
    assert api.get("/v1/approvals/none").status == 404
