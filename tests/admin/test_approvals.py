"""The admin's pages of approvals: deciding about many, and about one with a note."""

from __future__ import annotations

from typing import Any

import pytest

from access.models import AuditEntry
from jobs.approvals.models import Approval
from jobs.models import Job
from tests.admin.conftest import Admin, SignIn
from tests.approvals.conftest import WRITE, Asked, asked
from tests.modelserver import Reply, ToolCall

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["asked"]
LIST = "jobs/approval/"
SUBMITTED = {"_form_submitted": "True", "note": "Not there."}


def page_of(approval: Approval, verb: str = "change") -> str:
    return f"{LIST}{approval.pk}/{verb}/"


def test_many_are_decided_about_in_the_list(admin: Admin, asked: Asked) -> None:
    asked(Reply(WRITE, ToolCall("data_write_file", {"path": "b.txt", "content": "b"})))
    first, second = Approval.objects.order_by("pk")

    approved, denied = admin.act(LIST, "approve", first.pk), admin.act(LIST, "deny", second.pk)
    again = admin.act(LIST, "approve", first.pk)

    assert {it.pk: it.state for it in Approval.objects.all()} == {first.pk: "approved", second.pk: "denied"}
    assert f"Approved: approval {first.pk}" in approved
    assert f"Denied: approval {second.pk}" in denied
    assert "Not approved, because There is nothing to decide" in again
    decided = AuditEntry.objects.filter(action__in=["approval.approved", "approval.denied"])
    assert {it.actor for it in decided} == {"user:root"}


def test_what_was_not_shown_is_not_approved(admin: Admin, asked: Asked, django_assert_max_num_queries: Any) -> None:
    # A harmless beginning, and text that runs from right to left.
    asked(Reply(ToolCall("data_write_file", {"path": "a.txt", "content": "x\u202e" * 60_000})))
    approval = Approval.objects.get()

    with django_assert_max_num_queries(12) as sent:
        shown = admin.page(LIST)
    in_list = admin.act(LIST, "approve", approval.pk)
    on_page = admin.post(f"/admin/{page_of(approval, 'approve')}", SUBMITTED, follow=True).content.decode()

    assert r"x\u202ex\u202e" in shown
    assert "\u202e" not in shown + on_page
    assert not any(
        '"jobs_job"."input",' in it["sql"] or '"jobs_job"."result"' in it["sql"] for it in sent.captured_queries
    )
    assert "Not approved, because only the beginning of its input was shown" in in_list
    assert "Not approved, because only the beginning of its input was shown" in on_page
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_one_is_denied_with_a_note_on_its_page(admin: Admin, asked: Asked) -> None:
    asked()
    approval = Approval.objects.get()
    page = admin.page(page_of(approval))
    url = f"/admin/{page_of(approval, 'deny')}"
    assert url in page
    assert "&quot;Friday&quot;" in page

    dialog = admin.get(url).content.decode()
    answer = admin.post(url, SUBMITTED, headers={"HX-Request": "true"})

    approval.refresh_from_db()
    assert "The model is told your note" in dialog
    assert answer.headers["HX-Redirect"] == f"/admin/{page_of(approval)}"
    assert (approval.state, approval.note, approval.decided_by) == ("denied", "Not there.", "user:root")
    assert Job.objects.get(pk=approval.pk).status == "cancelled"
    assert url not in admin.page(page_of(approval))


def test_who_may_only_look_decides_nothing(sign_in: SignIn, asked: Asked) -> None:
    asked()
    approval = Approval.objects.get()
    client = sign_in("view_approval")

    client.act(LIST, "approve", approval.pk)
    answer = client.post(f"/admin/{page_of(approval, 'approve')}", SUBMITTED)

    approval.refresh_from_db()
    assert (approval.state, answer.status_code) == ("pending", 403)
    assert "/approve/" not in client.page(page_of(approval))
