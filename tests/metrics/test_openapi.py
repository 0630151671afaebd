"""The OpenAPI document and the browsable pages of this part."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command

from metrics.api.alerts import CHANGE
from metrics.api.urls import urlpatterns
from metrics.models import Alert
from tests.apiclient import Api
from tests.metrics.test_runtime import make_node

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def document() -> Any:
    """The document; a warning fails, and what is not OpenAPI."""
    out = io.StringIO()
    call_command("spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=out)
    return json.loads(out.getvalue())


def test_the_document_has_every_route(document: Any) -> None:
    routes = {re.sub(r"<\w+:(\w+)>", r"{\1}", f"/v1/{pattern.pattern}") for pattern in urlpatterns}

    assert not (routes | {"/metrics"}) - document["paths"].keys()


@pytest.mark.parametrize(
    ("path", "component", "shown"),
    [
        ("/v1/runtime/metrics", "Metrics", "metrics"),
        ("/v1/runtime/metrics", "PulledAlert", "alerts/0"),
        ("/v1/runtime/workers", "Worker", "workers/0"),
        ("/v1/runtime/workers", "RunningJob", "workers/0/jobs/0"),
        ("/v1/runtime/queues", "BusyQueue", "queues/0"),
        ("/v1/alerts", "Alert", "alerts/0"),
        ("/v1/alert-rules", "AlertRule", "rules/0"),
    ],
)
def test_answers_have_the_documented_keys(
    api: Api, document: Any, claimed: Make, make_job: Make, ago: Callable[[float], None], path: str, component: str,
    shown: str,
) -> None:  # fmt: skip
    make_job()
    ago(2000)
    make_node()
    claimed()
    Alert.objects.create(code="NO_WORKER", scope="gpu", message="m", value=1)

    answer = api.get(path).json
    for step in shown.split("/"):
        answer = answer[int(step) if step.isdigit() else step]

    # What an answer may leave out, it leaves out here.
    assert sorted(answer) == sorted(document["components"]["schemas"][component]["required"])


def test_the_form_of_a_rule_starts_with_an_example_that_works(api: Api) -> None:
    page = api.get("/v1/alert-rules/QUEUE_STALLED", accept="text/html").text

    (body,) = [json.loads(html.unescape(text)) for text in re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.S)]
    assert body == CHANGE
    assert api.patch("/v1/alert-rules/QUEUE_STALLED", body).status == 200
