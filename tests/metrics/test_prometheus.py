"""The page for Prometheus: who may read it, what stands there, and that labels are bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from jobs import lifecycle
from jobs.live import audience
from jobs.models import Job, JobType
from metrics import counting, prometheus
from metrics.models import Alert
from rauskuclaw import redis
from rauskuclaw.config import ROOT, Config
from rauskuclaw.wire import KEY_PREFIX
from tests.apiclient import ADMIN, GPU_ONLY, KEYS, READER, Api
from tests.metrics.test_counting import one_of_each
from tests.metrics.test_runtime import make_node

pytestmark = pytest.mark.django_db

Make = Callable[..., Any]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every scrape reads anew, and no other test's streams are counted."""
    monkeypatch.setattr(prometheus, "CACHE_SEC", 0.0)
    for key in redis.client().scan_iter(f"{KEY_PREFIX}subscribers:*"):
        redis.client().delete(key)
    prometheus._cached.clear()
    yield
    prometheus._cached.clear()


def scraped(text: str) -> Series:
    """Every sample by its name and labels; none may come twice."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def scrape() -> Callable[..., float | None]:
    """`value("jobs_made_total", type="…")` of the page as it is now; None: there is no such series."""
    content, _ = prometheus.page("")
    found = scraped(content.decode())
    return lambda name, **labels: found.get((f"rauskuclaw_{name}", frozenset(labels.items())))


def test_it_counts_what_the_counters_count(claimed: Make, make_job: Make) -> None:
    one_of_each(claimed, make_job)
    report = {"type": "report.generate"}

    value = scrape()

    assert value("jobs_made_total", **report) == 5
    for status in ("succeeded", "failed", "cancelled"):
        assert value("jobs_ended_total", status=status, **report) == 1
    assert value("attempts_ended_total", outcome="failed", **report) == 2
    assert value("jobs_retried_total", **report) == 1
    for name in ("job_wait_seconds", "job_run_seconds"):
        assert value(f"{name}_count", **report) == value(f"{name}_bucket", le="+Inf", **report) == 3
    assert value("job_total_seconds_count", **report) == 2
    assert value("queue_jobs", queue="default", state="delayed") == 1
    assert value("queue_jobs", queue="default", state="published") == 1


def test_no_total_falls_when_minutes_are_counted_for_good(
    claimed: Make, make_job: Make, ago: Callable[[float], None]
) -> None:
    one_of_each(claimed, make_job)
    before = {key: number for key, number in scraped(prometheus.page("")[0].decode()).items() if "total" in key[0]}
    ago(200)
    make_job()
    counting.count_up()
    Job.objects.filter(status="succeeded").delete()

    after = scraped(prometheus.page("")[0].decode())

    assert all(after[key] >= number for key, number in before.items() if not key[0].endswith("_sum"))
    assert scrape()("jobs_made_total", type="report.generate") == 6


def test_durations_lie_in_their_buckets(claimed: Make) -> None:
    claim = claimed()
    lifecycle.succeed(claim.id, claim.fence, result={})
    Job.objects.get(pk=claim.id).attempt_rows.update(ran_ms=700, waited_ms=26)
    report = {"type": "report.generate"}

    value = scrape()

    assert value("job_run_seconds_bucket", le="0.5", **report) == 0
    assert value("job_run_seconds_bucket", le="1.0", **report) == 1
    assert value("job_run_seconds_sum", **report) == 0.7
    assert value("job_wait_seconds_bucket", le="0.025", **report) == 0
    assert value("job_wait_seconds_bucket", le="0.05", **report) == 1


def test_types_and_queues_that_nobody_declared_make_no_series(make_job: Make) -> None:
    make_job()
    for number in range(prometheus.MAX_QUEUES + 20):
        make_job("deploy.run", queue=f"q{number}")
    JobType.objects.filter(name="deploy.run").delete()

    value = scrape()

    assert value("jobs_made_total", type="deploy.run") is None
    assert value("jobs_made_total", type=prometheus.OTHER) == prometheus.MAX_QUEUES + 20
    shown = re.findall(r'queue="(\w+)",state="published"', prometheus.page("")[0].decode())
    assert len(shown) == prometheus.MAX_QUEUES + 1
    assert value("queue_jobs", queue=prometheus.OTHER, state="published") == 21


def test_workers_callbacks_alerts_streams_and_the_database(claimed: Make) -> None:
    make_node()
    claim = claimed(callback_url="https://example.org/")
    lifecycle.succeed(claim.id, claim.fence, result={})
    claimed()
    Alert.objects.create(code="NO_WORKER", scope="gpu", message="", value=1)
    audience.note(3)

    value = scrape()

    assert (value("workers", pool="process"), value("worker_slots", pool="process")) == (1, 4)
    assert (value("worker_slots_busy", pool="process"), value("workers", pool="io")) == (1, 0)
    assert (value("callback_deliveries", state="pending"), value("callback_deliveries", state="dead")) == (1, 0)
    assert (value("alerts", code="NO_WORKER"), value("alerts", code="QUEUE_STALLED")) == (1, 0)
    assert value("stream_subscribers") == 3
    assert (value("database_size_bytes") or 0) > 1_000_000
    assert (value("database_connections", state="active") or 0) >= 1
    assert (value("database_connections_max") or 0) >= 1


def test_a_second_scrape_within_the_cache_asks_nothing(
    django_assert_num_queries: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "CACHE_SEC", 60.0)
    first = prometheus.page("")

    with django_assert_num_queries(0):
        assert prometheus.page("") == first


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {READER}"}, 200), ({"x_api_key": ADMIN}, 200), ({}, 401),
        ({"authorization": "Bearer wrong"}, 401), ({"authorization": f"Bearer {GPU_ONLY}"}, 403),
    ],
)  # fmt: skip
def test_who_may_read_it(api: Api, headers: dict[str, str], status: int) -> None:
    answer = api.get("/metrics", key=None, **headers)

    assert answer.status == status
    assert (answer.json is None) == (status == 200)


def test_it_can_be_opened_to_all(api: Api, configure: Callable[..., Config]) -> None:
    configure(METRICS_PUBLIC=1, API_KEYS_JSON=KEYS)

    answer = api.get("/metrics", key=None)

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_openmetrics_is_spoken_to_those_who_ask(api: Api) -> None:
    answer = api.get("/metrics", accept="application/openmetrics-text; version=1.0.0")

    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    families = openmetrics_families(answer.text)  # type: ignore[no-untyped-call]
    assert {"rauskuclaw_jobs_made", "rauskuclaw_job_wait_seconds"} <= {family.name for family in families}


def test_the_dashboard_asks_for_series_that_exist(claimed: Make, make_job: Make) -> None:
    one_of_each(claimed, make_job)
    counting.record("job.idempotency_hit", labels={"type": "report.generate"})
    audience.note(1)
    there = {name for name, _ in scraped(prometheus.page("")[0].decode())}
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "rauskuclaw.json").read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]

    asked = {name for query in queries for name in re.findall(r"rauskuclaw_\w+", query)}

    assert len(queries) > 20
    assert all(re.search(r"rauskuclaw_\w+", query) for query in queries)
    assert asked <= there
