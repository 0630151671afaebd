"""The admin's pages of jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.models import AuditEntry
from jobs import lifecycle
from jobs.admin import common
from jobs.models import Job, Status
from jobs.transitions import Claim
from tests.admin.conftest import Admin, SignIn

JOBS = "jobs/job/"
SUBMITTED = {"_form_submitted": "True"}
MakeJob = Callable[..., Job]


def page_of(job: Job) -> str:
    return f"{JOBS}{job.id}/change/"


@pytest.fixture
def ended(claimed: Callable[..., Claim]) -> Callable[..., Job]:
    """A job that a worker has ended."""

    def make(*, succeed: bool = False, **fields: object) -> Job:
        claim = claimed(**fields)
        if succeed:
            lifecycle.succeed(claim.id, claim.fence, result={"answer": 42})
        else:
            lifecycle.fail(claim.id, claim.fence, code="UPSTREAM_ERROR", message="no luck", retry=False)
        return Job.objects.get(pk=claim.id)

    return make


# The list


def test_the_list_shows_jobs_and_costs_the_same_for_many_as_for_few(admin: Admin, make_job: MakeJob) -> None:
    make_job(tags=("nightly",))
    admin.page(JOBS)
    with CaptureQueriesContext(connection) as few:
        page = admin.page(JOBS)
    for _ in range(12):
        make_job()

    with CaptureQueriesContext(connection) as many:
        admin.page(JOBS)

    assert "report.generate" in page
    assert "nightly" in page
    assert len(many) == len(few) <= 6


def test_the_list_reads_no_inputs_and_no_results(admin: Admin, make_job: MakeJob) -> None:
    make_job()

    with CaptureQueriesContext(connection) as queries:
        admin.page(JOBS)

    assert not [query for query in queries if '"input"' in query["sql"] or '"result"' in query["sql"]]


def test_counting_stops_and_the_rest_is_estimated(
    admin: Admin, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "LISTED_ROWS", 3)
    for _ in range(5):
        make_job()

    page = admin.page(JOBS)

    assert "About " in page
    assert "the pages hold the newest 3" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status__exact=queued", {"one", "two"}),
        ("status__exact=failed", set()),
        ("queue=gpu", {"two"}),
        ("type=deploy.run", {"two"}),
        ("q=TAG", set()),
        ("q=two", {"two"}),
        ("q=deploy", {"two"}),
        ("q=%20", {"one", "two"}),
        ("q=zzzz", set()),
    ],
)
def test_the_list_is_narrowed(admin: Admin, make_job: MakeJob, query: str, found: set[str]) -> None:
    jobs = {
        "one": make_job(tags=("one",)),
        "two": make_job("deploy.run", queue="gpu", tags=("two",), input={"target": "staging"}),
    }

    page = admin.page(f"{JOBS}?{query}")

    assert {name for name, job in jobs.items() if str(job.id) in page} == found


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ("from_0={day}", {"new"}),
        ("from_0={day}&created_at_from_1=23:59:59", {"new"}),
        ("to_0={day}", {"old"}),
        ("from_0=2026-02-31", {"new", "old"}),
        ("to_0=soon", {"new", "old"}),
    ],
)
def test_the_list_is_narrowed_by_time(admin: Admin, make_job: MakeJob, bounds: str, found: set[str]) -> None:
    jobs = {"old": make_job(), "new": make_job()}
    Job.objects.filter(pk=jobs["old"].pk).update(created_at=timezone.now() - timedelta(days=9))
    day = timezone.now() - timedelta(days=4)

    page = admin.page(f"{JOBS}?created_at_{bounds.format(day=day.date())}")

    assert {name for name, job in jobs.items() if str(job.id) in page} == found


def test_a_job_is_found_by_the_beginning_of_its_id(admin: Admin, make_job: MakeJob) -> None:
    job, other = make_job(), make_job()

    page = admin.page(f"{JOBS}?q={str(job.id)[:13]}")

    assert str(job.id) in page
    assert str(other.id) not in page


# The page of one job


def test_the_page_shows_everything_about_a_job(admin: Admin, ended: Callable[..., Job]) -> None:
    job = ended(input={"title": "Weekly <b>"}, callback_url="https://hooks.example.org/x")

    page = admin.page(page_of(job))

    for shown in ("Weekly &lt;b&gt;", "no luck", "UPSTREAM_ERROR", "Job claimed", "test-worker", "hooks.example.org"):
        assert shown in page
    assert "<b>" not in page.partition("Weekly")[2][:20]


def test_the_page_shows_the_newest_lines_of_the_log_oldest_first(admin: Admin, make_job: MakeJob) -> None:
    job = make_job()
    lifecycle.append_logs(job.id, [("info", f"line {number:03}", None) for number in range(250)])

    page = admin.page(page_of(job))

    assert "line 049" not in page
    assert page.index("line 050") < page.index("line 249")
    assert "the newest 200 lines" in page


def test_the_page_s_cost_does_not_grow_with_the_log(admin: Admin, make_job: MakeJob) -> None:
    job = make_job()
    admin.page(page_of(job))
    with CaptureQueriesContext(connection) as few:
        admin.page(page_of(job))
    lifecycle.append_logs(job.id, [("info", "line", None)] * 50)

    with CaptureQueriesContext(connection) as many:
        admin.page(page_of(job))

    assert len(many) == len(few)


def test_large_json_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "SHOWN_JSON_CHARS", 20)

    assert "more characters; the API has them" in common.json_block({"long": "x" * 100})


def test_json_is_coloured_and_escaped() -> None:
    block = common.json_block({"a<": ["</pre>", 1.5, None]})

    assert '<span class="rc-key">&quot;a&lt;&quot;</span>' in block
    assert '<span class="rc-text">&quot;&lt;/pre&gt;&quot;</span>' in block
    assert '<span class="rc-number">1.5</span>' in block
    assert '<span class="rc-word">null</span>' in block


@pytest.mark.parametrize("path", ["add/", "{id}/delete/"])
def test_jobs_are_neither_made_nor_deleted_here(admin: Admin, make_job: MakeJob, path: str) -> None:
    response = admin.post(f"/admin/{JOBS}{path.format(id=make_job().id)}", {"post": "yes"})

    assert response.status_code == 403
    assert Job.objects.exists()


def test_jobs_are_not_edited_here(admin: Admin, make_job: MakeJob) -> None:
    job = make_job()

    assert admin.post(f"/admin/{page_of(job)}", {"priority": 9}).status_code == 403


@pytest.mark.parametrize("key", ["nonsense", "00000000-0000-4000-8000-00000000dead"])
def test_a_job_that_is_not_there_is_told(admin: Admin, key: str) -> None:
    page = admin.get(f"/admin/{JOBS}{key}/change/", follow=True).content.decode()

    assert "doesn’t exist" in page


# Cancel and retry


def test_selected_jobs_are_cancelled_and_each_outcome_is_told(
    admin: Admin, make_job: MakeJob, ended: Callable[..., Job]
) -> None:
    queued, done = make_job(), ended(succeed=True)

    page = admin.act(JOBS, "cancel_selected", queued.id, done.id)

    queued.refresh_from_db()
    assert queued.status == Status.CANCELLED
    assert f"Cancelled: job {queued.id}" in page
    assert f"only queued and running jobs can be cancelled: job {done.id}" in page


def test_selected_jobs_are_retried_under_the_user_s_name(admin: Admin, ended: Callable[..., Job]) -> None:
    job = ended()

    page = admin.act(JOBS, "retry_selected", job.id)

    job.refresh_from_db()
    assert (job.status, job.series) == (Status.QUEUED, 2)
    assert AuditEntry.objects.get(action="job.retried").actor == "user:root"
    assert "Queued again" in page


def test_an_action_takes_on_so_many_jobs_and_says_that_others_are_left(
    admin: Admin, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ACTION_ROWS", 1)
    jobs = [make_job(), make_job()]

    page = admin.act(JOBS, "cancel_selected", *(job.id for job in jobs))

    assert Job.objects.filter(status=Status.CANCELLED).count() == 1
    assert "Only 1 at a time" in page


def test_a_job_is_cancelled_from_its_page_only_after_the_dialog(admin: Admin, make_job: MakeJob) -> None:
    job = make_job()
    url = f"/admin/{JOBS}{job.id}/cancel/"

    assert "Cancel this job?" in admin.get(url).content.decode()
    job.refresh_from_db()
    assert job.status == Status.QUEUED

    answer = admin.post(url, SUBMITTED, headers={"HX-Request": "true"})
    job.refresh_from_db()
    assert job.status == Status.CANCELLED
    assert answer.headers["HX-Redirect"] == f"/admin/{page_of(job)}"


def test_a_job_is_retried_from_its_page(admin: Admin, ended: Callable[..., Job]) -> None:
    job = ended()

    page = admin.post(f"/admin/{JOBS}{job.id}/retry/", SUBMITTED, follow=True).content.decode()

    assert "Queued again" in page
    assert Job.objects.get().status == Status.QUEUED


def test_a_page_offers_what_the_status_allows(admin: Admin, make_job: MakeJob, ended: Callable[..., Job]) -> None:
    queued, failed, succeeded = make_job(), ended(), ended(succeed=True)

    offered = {
        job.status: [verb for verb in ("cancel", "retry") if f"/{job.id}/{verb}/" in admin.page(page_of(job))]
        for job in (queued, failed, succeeded)
    }

    assert offered == {"queued": ["cancel"], "failed": ["retry"], "succeeded": []}


# Permissions


def test_staff_without_permission_see_no_jobs(sign_in: SignIn, make_job: MakeJob) -> None:
    anna = sign_in()

    assert anna.get(f"/admin/{JOBS}").status_code == 403
    assert anna.get(f"/admin/{page_of(make_job())}").status_code == 403


def test_who_may_view_jobs_cannot_cancel_them(sign_in: SignIn, make_job: MakeJob) -> None:
    anna, job = sign_in("view_job"), make_job()

    anna.act(JOBS, "cancel_selected", job.id)

    assert anna.post(f"/admin/{JOBS}{job.id}/cancel/", SUBMITTED).status_code == 403
    assert f"/{job.id}/cancel/" not in anna.page(page_of(job))
    assert Job.objects.get().status == Status.QUEUED


def test_who_may_change_jobs_cancels_them(sign_in: SignIn, make_job: MakeJob) -> None:
    anna, job = sign_in("change_job"), make_job()

    anna.act(JOBS, "cancel_selected", job.id)

    assert Job.objects.get().status == Status.CANCELLED


@pytest.mark.parametrize(
    ("codename", "shown"), [("view_joblog", "Job claimed"), ("view_attempt", "UPSTREAM_ERROR</code> no luck")]
)
def test_logs_and_attempts_have_permissions_of_their_own(
    sign_in: SignIn, ended: Callable[..., Job], codename: str, shown: str
) -> None:
    page, anna = page_of(ended()), sign_in("view_job")
    assert shown not in anna.page(page)

    User.objects.get(username="anna").user_permissions.add(Permission.objects.get(codename=codename))

    assert shown in anna.page(page)


def test_the_menu_shows_what_the_user_may_see(sign_in: SignIn) -> None:
    page = sign_in("view_job").page("")

    assert 'href="/admin/jobs/job/"' in page
    assert 'href="/admin/access/apikey/"' not in page
    assert 'href="/docs"' in page


def test_idempotency_keys_are_not_shown(admin: Admin) -> None:
    assert admin.get("/admin/jobs/idempotencykey/").status_code == 404
    assert "dempotency" not in json.dumps(admin.page(""))
