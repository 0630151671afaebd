"""Usage, prices and budgets: nothing is spent that was not covered, also by many calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.models import AuditEntry
from jobs.models import Job, Status
from metrics import prometheus
from providers import ledger, money
from providers.base import Request
from providers.base import Usage as Tokens
from providers.faults import Fault
from providers.models import Account, ModelCall, Price
from rauskuclaw import config
from tests.apiclient import GPU_ONLY, READER, Api
from tests.conftest import error_of
from tests.modelserver import Cut, ModelServer, Pause, Refusal, Reply, Usage
from tests.providers.conftest import CHAT, CLAUDE, Chat, Start

BY = "test"
HELLO = Request(messages=[{"role": "user", "content": "Hello"}], max_tokens=100)


def set_price(model: str = "gpt-test", provider: str = "openai", **amounts: str) -> Price:
    """A dollar a million tokens in, two out, unless said otherwise."""
    values = {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2", **amounts}
    return money.set_price({"provider": provider, "model": model, **values}, by=BY)


def budget(limit: str, scope: str = "all", subject: str = "*", period: str = "day") -> str:
    values = {"scope": scope, "subject": subject, "period": period, "limit_usd": Decimal(limit)}
    return str(money.create_budget(values, by=BY).pk)


def owner(job: Job, **fields: Any) -> ledger.Owner:
    made = ledger.owner_of(job.pk, thread=fields.pop("thread", ""), deadline_at=timezone.now() + timedelta(seconds=60))
    return made if not fields else ledger.Owner(**{**made.__dict__, **fields})


def begin(who: ledger.Owner, request: Request = HELLO) -> ledger.OpenCall:
    return ledger.begin(who, "openai", "gpt-test", request, bounded=True, default_max=50)


@pytest.mark.django_db
def test_no_call_costs_less_than_nothing(make_job: Any) -> None:
    set_price(cached_usd_per_mtok="0.5")
    call = begin(owner(make_job()))

    cost = ledger.settle(call.id, Tokens(100, 0, 400), latency_ms=1)

    assert cost == Decimal("0.00005")
    assert ModelCall.objects.get().cached_tokens == 100


@pytest.mark.django_db
def test_the_newest_price_of_each_name_counts() -> None:
    set_price("gpt-*", input_usd_per_mtok="9")
    set_price()
    newest = set_price(input_usd_per_mtok="3")
    prefix = set_price("gpt-*", input_usd_per_mtok="8")
    set_price(provider="anthropic", input_usd_per_mtok="7")

    assert money.price_of("openai", "gpt-test") == newest
    assert money.price_of("openai", "gpt-other") == prefix
    assert money.price_of("openai", "o1") is None


def test_a_call_notes_its_tokens_its_cost_and_whose_it_was(asks: ModelServer, chat: Chat) -> None:
    price = set_price(cached_usd_per_mtok="0.5")
    asks.answer(Reply("Hi", usage=Usage(1000, 10, cached=400)))

    job = chat(CHAT, prompt="Hello", thread="t-1")

    call = ModelCall.objects.get(job_id=job.pk)
    assert (call.state, call.provider, call.model, call.price_id) == ("settled", "openai", "gpt-test", price.pk)
    assert (call.input_tokens, call.cached_tokens, call.output_tokens, call.estimated) == (1000, 400, 10, False)
    assert call.cost_usd == Decimal("0.000820")
    assert (call.job_type, call.key, call.thread, call.queue) == (CHAT, "test", "t-1", "default")
    assert call.latency_ms is not None
    assert call.first_text_ms is not None
    result: Any = job.result
    assert result["usage"]["cost_usd"] == "0.00082"


def test_the_newest_price_of_the_longest_name_counts(db: None) -> None:
    set_price("*", input_usd_per_mtok="1")
    set_price("gpt-*", input_usd_per_mtok="2")
    set_price("gpt-4", input_usd_per_mtok="3")
    newest = set_price("gpt-4", input_usd_per_mtok="4")

    assert money.price_of("openai", "gpt-4") == newest
    found = [money.price_of("openai", name) for name in ("gpt-4-mini", "o3")]
    assert [price and price.input_usd_per_mtok for price in found] == [Decimal(2), Decimal(1)]
    assert money.price_of("anthropic", "gpt-4") is None


def test_an_old_price_stays_with_its_calls(asks: ModelServer, chat: Chat) -> None:
    old = set_price()
    first = chat(CHAT, prompt="Hello")
    set_price(input_usd_per_mtok="100")

    assert ModelCall.objects.get(job_id=first.pk).price == old


def test_without_a_price_a_call_is_counted_and_its_cost_unknown(asks: ModelServer, chat: Chat) -> None:
    job = chat(CHAT, prompt="Hello")

    call = ModelCall.objects.get(job_id=job.pk)
    assert (call.cost_usd, call.input_tokens) == (None, 12)


def test_a_budget_stops_before_the_call_that_it_may_not_cover(asks: ModelServer, chat: Chat) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="1000000")
    budget("0.3")
    asks.answer(*(Reply("x", usage=Usage(1, 0)) for _ in range(2)), Reply("x", usage=Usage(1, 0)))
    wanted: dict[str, Any] = {"prompt": "Hello", "max_tokens": 1, "fields": {"max_attempts": 3}}

    job = chat(CHAT, **wanted)

    error = error_of(job)
    assert (error["code"], job.status) == ("BUDGET_EXCEEDED", Status.FAILED)
    assert (error["details"]["limit_usd"], error["details"]["needed_usd"]) == ("0.3", "1")
    assert asks.calls == []
    assert not ModelCall.objects.exists()


def test_a_budget_is_spent_to_the_last_cent_and_no_further(asks: ModelServer, chat: Chat) -> None:
    # A cent for each token of output, and one token an answer: three answers for three cents.
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("0.03")
    asks.by_default = lambda call: Reply("x", usage=Usage(1, 1))

    jobs = [chat(CHAT, prompt="Hello", max_tokens=1) for _ in range(4)]

    assert [job.status for job in jobs] == [Status.SUCCEEDED] * 3 + [Status.FAILED]
    account = Account.objects.get()
    assert (account.spent_usd, account.reserved_usd) == (Decimal("0.03"), Decimal(0))


@pytest.mark.django_db(transaction=True)
def test_calls_at_once_cannot_overspend(make_job: Callable[..., Job]) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("5.00")
    budget("100", scope="key")
    job = make_job()
    who, barrier, opened, refused = owner(job), threading.Barrier(16), [], []

    def call(_number: int) -> None:
        barrier.wait()
        try:
            opened.append(begin(who).id)
        except Fault as fault:
            refused.append(fault.code.name)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(call, range(16)))

    # Each may cost a dollar: 100 tokens of a cent.
    assert (len(opened), refused) == (5, ["BUDGET_EXCEEDED"] * 11)
    reserved = dict(Account.objects.values_list("budget__scope", "reserved_usd"))
    assert reserved == {"all": Decimal(5), "key": Decimal(5)}
    for number in opened:
        ledger.settle(number, Tokens(10, 10), latency_ms=1)
        ledger.settle(number, Tokens(10, 10), latency_ms=1)
    spent = dict(Account.objects.values_list("budget__scope", "spent_usd"))
    assert spent == {"all": Decimal("0.5"), "key": Decimal("0.5")}
    assert set(Account.objects.values_list("reserved_usd", flat=True)) == {Decimal(0)}


@pytest.mark.parametrize(
    ("scope", "subject", "other"),
    [
        ("key", "key:a", {"key": "key:b"}),
        ("type", "chat.a", {"job_type": "chat.b"}),
        ("schedule", "s-a", {"schedule": "s-b"}),
        ("thread", "t-a", {"thread": "t-b"}),
    ],
)
def test_a_budget_of_one_does_not_bind_another(
    scope: str, subject: str, other: dict[str, str], make_job: Callable[..., Job]
) -> None:
    set_price()
    budget("0", scope=scope, subject=subject)
    mine = {{"key": "key", "type": "job_type"}.get(scope, scope): subject}
    job = make_job()

    with pytest.raises(Fault, match="does not cover"):
        begin(owner(job, **mine))
    assert begin(owner(job, **other)).id


def test_with_a_star_each_has_its_own(make_job: Callable[..., Job]) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("1", scope="thread")
    job = make_job()

    assert begin(owner(job, thread="a")).id
    assert begin(owner(job, thread="b")).id
    with pytest.raises(Fault, match="thread a"):
        begin(owner(job, thread="a"))
    assert begin(owner(job, thread="")).id, "what has no thread is not counted under one"


def test_a_budget_begins_anew_with_its_period(make_job: Callable[..., Job]) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("1")
    job = make_job()
    ledger.settle(begin(owner(job)).id, Tokens(0, 100), latency_ms=1)
    Account.objects.update(period_start=timezone.now().date() - timedelta(days=1))

    assert begin(owner(job)).id


def test_under_a_budget_an_answer_has_a_bound(
    asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(MODEL_MAX_OUTPUT_TOKENS=77)
    chat(CHAT, prompt="Hello")
    set_price()
    budget("1")

    chat(CHAT, prompt="Hello")

    assert ["max_tokens" in call.body for call in asks.calls] == [False, True]
    assert asks.calls[1].body["max_tokens"] == 77


def test_a_budget_over_a_model_without_a_price_is_a_fault_of_the_configuration(asks: ModelServer, chat: Chat) -> None:
    budget("1")

    assert error_of(chat(CHAT, prompt="Hello"))["code"] == "PROVIDER_CONFIG"


@pytest.mark.parametrize("type_", [CHAT, CLAUDE])
def test_an_answer_that_broke_off_is_paid_by_what_came(type_: str, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Reply("x" * 400, Cut()), Refusal(401))

    broken, refused = chat(type_, prompt="Hello"), chat(type_, prompt="Hello")

    paid = ModelCall.objects.get(job_id=broken.pk)
    assert (paid.output_tokens, paid.estimated, paid.error_code) == (100, True, "PROVIDER_NETWORK")
    free = ModelCall.objects.get(job_id=refused.pk)
    assert (free.input_tokens, free.output_tokens, free.error_code) == (0, 0, "PROVIDER_HTTP")


def test_what_a_dead_worker_left_open_is_settled_at_its_bound(make_job: Callable[..., Job]) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("5")
    call = begin(owner(make_job()))
    ModelCall.objects.update(deadline_at=timezone.now() - timedelta(seconds=90))

    assert ledger.sweep() == 1
    assert ledger.sweep() == 0

    account, lost = Account.objects.get(), ModelCall.objects.get(pk=call.id)
    assert (account.spent_usd, account.reserved_usd) == (Decimal(1), Decimal(0))
    assert (lost.state, lost.error_code, lost.cost_usd) == ("lost", "WORKER_LOST", Decimal(1))


def test_a_call_under_way_has_its_bound_set_aside(asks: ModelServer, start: Start) -> None:
    set_price(input_usd_per_mtok="0", output_usd_per_mtok="10000")
    budget("5")
    pause = Pause()
    asks.answer(Reply("Hel", pause, "lo", usage=Usage(1, 2)))
    future = start(CHAT, prompt="Hello", max_tokens=100)
    assert pause.reached.wait(30)

    assert Account.objects.get().reserved_usd == Decimal(1)

    pause.release()
    assert future.result(30).status == Status.SUCCEEDED
    account = Account.objects.get()
    assert (account.spent_usd, account.reserved_usd) == (Decimal("0.02"), Decimal(0))


def test_a_child_is_counted_under_the_key_of_the_first_that_made_it(make_job: Callable[..., Job]) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(created_by="schedule 7e1d")

    who = owner(job)

    assert (who.key, who.schedule) == ("schedule 7e1d", "7e1d")


# The API


def test_usage_is_grouped_as_asked(asks: ModelServer, chat: Chat, api: Api, configure: Any) -> None:
    set_price()
    asks.answer(Reply("a", usage=Usage(100, 10)), Reply("b", usage=Usage(200, 20)), Refusal(401))
    chat(CHAT, prompt="Hello", thread="t-1")
    chat(CLAUDE, prompt="Hello")
    chat(CHAT, prompt="Hello")

    by_model = api.get("/v1/usage?group_by=provider,model", key=READER).json
    only = api.get("/v1/usage?thread=t-1&group_by=day").json

    assert [(it["provider"], it["model"], it["calls"], it["failed"]) for it in by_model["groups"]] == [
        ("openai", "gpt-test", 2, 1),
        ("anthropic", "claude-test", 1, 0),
    ]
    assert by_model["groups"][0]["cost_usd"] == "0.00012"
    assert (by_model["total"]["input_tokens"], by_model["total"]["unpriced_calls"]) == (300, 1)
    assert [(it["day"], it["calls"]) for it in only["groups"]] == [(timezone.now().date().isoformat(), 1)]


def test_usage_shows_a_key_only_its_queues(asks: ModelServer, chat: Chat, api: Api) -> None:
    chat(CHAT, prompt="Hello")

    assert api.get("/v1/usage").json["total"]["calls"] == 1
    assert api.get("/v1/usage", key=GPU_ONLY).json["total"]["calls"] == 0


@pytest.mark.parametrize("query", ["group_by=colour", "since=yesterday", "until=2026-01-01"])
def test_usage_tells_what_it_cannot_be_asked(query: str, api: Api) -> None:
    assert api.get(f"/v1/usage?{query}").code == "VALIDATION_ERROR"


def test_prices_and_budgets_are_managed_over_http(api: Api) -> None:
    price = {"provider": "openai", "model": "gpt-test", "input_usd_per_mtok": "0.40", "output_usd_per_mtok": 1.6}
    assert api.post("/v1/prices", price).json["price"]["output_usd_per_mtok"] == "1.6"
    assert api.get("/v1/prices").json["count"] == 1

    wanted = {"scope": "key", "subject": "key:ci", "period": "month", "limit_usd": "12.50"}
    made = api.post("/v1/budgets", wanted)
    assert (made.status, made.json["budget"]["limit_usd"]) == (201, "12.5")
    path = f"/v1/budgets/{made.json['budget']['id']}"
    assert api.post("/v1/budgets", wanted).code == "CONFLICT"
    assert api.patch(path, {"enabled": False}).json["budget"]["enabled"] is False
    assert api.patch(path, {}).code == "VALIDATION_ERROR"
    assert api("DELETE", path).json["deleted"] is True
    assert api("DELETE", path).code == "NOT_FOUND"
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["price.created", "budget.created", "budget.updated", "budget.deleted"]


@pytest.mark.parametrize("path", ["/v1/prices", "/v1/budgets"])
@pytest.mark.parametrize("key", [READER, GPU_ONLY])
def test_only_an_admin_of_every_queue_manages_money(path: str, key: str, api: Api) -> None:
    assert api.get(path, key=key).code == "FORBIDDEN"
    assert api.post(path, {}, key=key).code == "FORBIDDEN"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/prices", {"provider": "openai", "model": "m", "output_usd_per_mtok": 1}, "input_usd_per_mtok"),
        ("/v1/budgets", {"scope": "moon", "period": "day", "limit_usd": 1}, "scope"),
        ("/v1/budgets", {"scope": "all", "period": "day", "limit_usd": -1}, "limit_usd"),
    ],
)
def test_a_wrong_field_is_told_by_its_path(path: str, body: Any, field: str, api: Api) -> None:
    answer = api.post(path, body)

    assert answer.code == "VALIDATION_ERROR"
    assert answer.json["error"]["details"]["errors"][0]["path"] == field


def test_prometheus_sees_the_calls_and_the_cost_of_the_day(asks: ModelServer, chat: Chat) -> None:
    set_price(input_usd_per_mtok="1000000")
    asks.answer(Reply("a", usage=Usage(3, 0)), Refusal(401))
    chat(CHAT, prompt="Hello")
    chat(CHAT, prompt="Hello")

    lines = prometheus.render("").decode().splitlines()

    assert 'rauskuclaw_model_cost_today_usd{provider="openai"} 3.0' in lines
    assert 'rauskuclaw_model_calls_today{outcome="failed",provider="openai"} 1.0' in lines
    assert 'rauskuclaw_model_calls_today{outcome="answered",provider="openai"} 1.0' in lines
    assert "rauskuclaw_model_calls_open 0.0" in lines
