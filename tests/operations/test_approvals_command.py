"""`manage.py approvals`."""

from __future__ import annotations

import pytest

from access.models import AuditEntry
from jobs.approvals.models import Approval
from tests.approvals.conftest import Asked, asked
from tests.jobs.test_groups import now, run_all
from tests.modelserver import Reply, ToolCall
from tests.operations.conftest import Manage

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["asked"]


def test_nothing_waits_at_first(manage: Manage) -> None:
    assert manage("approvals", "list").out.strip() == "Nothing waits."


def test_a_call_is_listed_shown_and_approved_by_the_beginning_of_its_hash(manage: Manage, asked: Asked) -> None:
    job = asked()
    approval = Approval.objects.get()

    listed, shown = manage("approvals", "list").out, manage("approvals", "show", str(approval.pk)).out
    too_short = manage("approvals", "approve", str(approval.pk), approval.arguments_hash[:11])
    done = manage("approvals", "approve", str(approval.pk), approval.arguments_hash[:12], "--json")
    run_all()

    assert approval.arguments_hash[:12] in listed
    assert '"content": "Friday"' in shown
    assert (too_short.code, done.code, done.json["approval"]["state"]) == (1, 0, "approved")
    assert now(job).status == "succeeded"
    assert AuditEntry.objects.get(action="approval.approved").actor.startswith("cli:")


def test_a_call_is_denied_with_a_note(manage: Manage, asked: Asked) -> None:
    asked()
    id_ = str(Approval.objects.get().pk)

    denied = manage("approvals", "deny", id_, "--note", "Not there.", "--json")
    again = manage("approvals", "deny", id_)

    assert (denied.json["approval"]["state"], denied.json["approval"]["note"]) == ("denied", "Not there.")
    assert (again.code, manage("approvals", "show", "none").code) == (1, 1)


def test_what_a_model_wrote_steers_no_terminal(manage: Manage, asked: Asked) -> None:
    asked(Reply(ToolCall("data_write_file", {"path": "a.txt", "content": "\x9b2J\u202ehsab"})))

    shown = manage("approvals", "list").out + manage("approvals", "show", str(Approval.objects.get().pk)).out

    assert shown.count(r"\x9b2J\u202ehsab") == 2
