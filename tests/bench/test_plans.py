"""No statement of a job's life or of a list may cost more because there are more finished jobs."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.models import Job, JobType
from jobs.requests import NewJob
from jobs.slots import BUNDLE_MOST
from jobs.submission import Submitted, submit_batch
from jobs.transitions import Claim, Claimable, Finish
from tests.bench import history
from tests.bench.plans import captured
from tests.bench.uses import Uses

FINISHED = 20_000

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def finished() -> None:
    there = connection.settings_dict
    account = f"{quote(there['USER'])}:{quote(there['PASSWORD'])}"
    history.load(f"postgresql://{account}@{there['HOST']}:{there['PORT']}/{there['NAME']}", FINISHED)


def test_no_plan_scans_a_big_table_or_reads_without_bound(finished: None) -> None:
    faults: dict[tuple[str, str], list[str]] = {}

    for name, use in Uses(repeats=2).all().items():
        with captured(as_if_large=True) as plans:
            use()
        assert plans, name
        faults |= {(name, plan.statement): plan.faults() for plan in plans if plan.faults()}

    assert faults == {}


def test_a_scan_and_an_unbounded_sort_are_caught(finished: None) -> None:
    with transaction.atomic(), connection.cursor() as cursor, captured() as plans:
        # Off in every connection of ours: the planner would rather read the whole of an index than of the table.
        cursor.execute("SET LOCAL enable_seqscan = on")
        list(Job.objects.filter(error__code="nowhere").order_by()[:1])
        list(Job.objects.filter(queue__gte="").order_by("updated_at")[:1])

    scan, sort = (plan.faults() for plan in plans)
    assert "Seq Scan on jobs_job" in scan
    assert any("reads" in fault for fault in sort)


def test_the_plan_of_a_prepared_statement_is_taken_without_running_it_twice(finished: None) -> None:
    uses = Uses(repeats=1).all()
    before = Job.objects.count()

    with captured() as plans:
        uses["create"]()

    assert Job.objects.count() == before + 1
    assert any(plan.statement.startswith("WITH incoming") for plan in plans)


def test_nor_does_a_bundle_of_short_jobs(finished: None) -> None:
    JobType.objects.create(name="test.short", handler="test:noop")
    made = submit_batch([NewJob(type="test.short", queue="short")] * 3 * BUNDLE_MOST, created_by="bench")
    jobs = [item.job for item in made if isinstance(item, Submitted)]
    Job.objects.filter(queue="short").update(published_at=Now())
    wanted = [Claimable(job.id, 0, worker="bench", node=None) for job in jobs]
    first, second, third = (wanted[n * BUNDLE_MOST : (n + 1) * BUNDLE_MOST] for n in range(3))
    faults: dict[str, list[str]] = {}

    def ends(claims: list[Claim]) -> list[Finish]:
        return [Finish.success(claim.id, claim.fence, result={}, ran_ms=1) for claim in claims]

    with captured(as_if_large=True) as plans:
        claims = lifecycle.claim_all(first)
        _, following = lifecycle.turn_over(ends(claims), second)
        lifecycle.end_together(ends(following))
        lifecycle.give_back([(claim.id, claim.fence) for claim in lifecycle.claim_all(third)], reason="bench")

    for plan in plans:
        if plan.faults():
            faults[plan.statement] = plan.faults()
    assert faults == {}
    found = [plan.statement for plan in plans]
    for name in ("claimed", "told", "back"):
        assert any(text.startswith(f"WITH {name} ") for text in found), name
