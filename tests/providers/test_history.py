"""Old calls of models go; what they spent of budgets does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from jobs.models import Job
from jobs.retention import registry, run
from providers import history, ledger
from providers.base import Usage as Tokens
from providers.faults import Fault
from providers.models import Account, ModelCall
from tests.apiclient import Api
from tests.bench.plans import captured
from tests.providers.test_money import begin, budget, owner, set_price

pytestmark = pytest.mark.django_db(transaction=True)


def called(job: Job, *, days_ago: float = 0, settled: bool = True) -> int:
    call = begin(owner(job))
    if settled:
        ledger.settle(call.id, Tokens(0, 100), latency_ms=1)
    age = timedelta(days=days_ago)
    ModelCall.objects.filter(pk=call.id).update(started_at=F("started_at") - age, deadline_at=F("deadline_at") - age)
    return call.id


def prune() -> int:
    report = run.run()
    assert report is not None
    return report.removed["model_calls"]


def test_old_calls_go_and_those_under_way_stay(make_job: Callable[..., Job]) -> None:
    job = make_job()
    called(job, days_ago=401)
    under_way, young = called(job, days_ago=401, settled=False), called(job, days_ago=399)

    (found,) = (it for it in run.preview() if it.kind == "model_calls")

    assert (found.old.count, found.policy) == (1, "400 days (RETENTION_MODEL_CALL_DAYS)")
    assert prune() == 1
    assert set(ModelCall.objects.values_list("pk", flat=True)) == {under_way, young}
    assert ledger.sweep() == 1, "its worker died long ago"
    assert prune() == 1


def test_zero_days_are_for_ever(make_job: Callable[..., Job], configure: Callable[..., Any]) -> None:
    configure(RETENTION_MODEL_CALL_DAYS=0)
    called(make_job(), days_ago=5000)

    assert prune() == 0
    assert ModelCall.objects.count() == 1


def test_a_budget_without_an_end_holds_when_its_calls_are_gone(make_job: Callable[..., Job]) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("1", period="total")
    job = make_job()
    called(job, days_ago=401)

    assert prune() == 1

    assert Account.objects.get().spent_usd == 1
    with pytest.raises(Fault, match="does not cover another call"):
        begin(owner(job))


def test_usage_says_how_far_it_reaches_back(make_job: Callable[..., Job], api: Api) -> None:
    assert api.get("/v1/usage").json["kept_since"] is None
    job = make_job()
    called(job, days_ago=401)
    young = ModelCall.objects.get(pk=called(job, days_ago=300))
    prune()

    asked = (timezone.now() - timedelta(days=500)).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = api.get(f"/v1/usage?since={asked}").json

    assert told["total"]["calls"] == 1
    assert told["kept_since"] == young.started_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def test_old_calls_and_the_first_one_are_found_by_an_index(make_job: Callable[..., Job]) -> None:
    called(make_job(), days_ago=401)
    columns = "job_id, job_type, queue, key, schedule, thread, provider, model, state, deadline_at"
    rest = "input_tokens, cached_tokens, output_tokens, estimated, error_code, reserved_usd, accounts"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO providers_modelcall ({columns}, {rest}, started_at)"
            f" SELECT {columns}, {rest}, now() - n * interval '1 minute'"
            " FROM providers_modelcall, generate_series(1, 15000) n"
        )
        cursor.execute("ANALYZE providers_modelcall")

    with captured(as_if_large=True) as plans:
        assert len(history.old_calls()[: registry.BATCH]) == 1
        assert history.kept_since() is not None

    assert [plan.faults() for plan in plans] == [[], []]
