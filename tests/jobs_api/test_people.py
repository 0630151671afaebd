"""The jobs API for people and for tools: the browsable pages and the OpenAPI document."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command

from jobs import job_types
from jobs.api.job_types import CHANGE, NEW_TYPE
from jobs.api.queues import CHANGE as QUEUE_CHANGE
from jobs.api.urls import urlpatterns
from jobs.api.views import NEW_JOB
from jobs.models import Job, Queue
from tests.apiclient import READER, Api


def bodies(page: str) -> list[Any]:
    """What the forms of a page hold to start with."""
    return [json.loads(html.unescape(text)) for text in re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)]


@pytest.mark.parametrize(
    ("path", "example"),
    [
        ("/v1/jobs", NEW_JOB),
        ("/v1/job-types", NEW_TYPE),
        ("/v1/job-types/report.generate", CHANGE),
        ("/v1/queues/default", QUEUE_CHANGE),
    ],
)
def test_a_form_starts_with_an_example_that_works(api: Api, path: str, example: dict[str, Any]) -> None:
    job_types.seed()
    Queue.objects.create(name="default")

    page = api.get(path, accept="text/html").text

    assert bodies(page) == [example]
    method = "PATCH" if path.count("/") > 2 else "POST"
    assert api(method, path, example).status in {200, 201}


def test_a_reader_is_offered_no_form(api: Api) -> None:
    page = api.get("/v1/jobs", accept="text/html", key=READER)

    assert (page.status, bodies(page.text)) == (200, [])


@pytest.fixture(scope="module")
def document() -> Any:
    """The OpenAPI document; a warning fails, and what is not OpenAPI."""
    out = io.StringIO()
    call_command("spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=out)
    return json.loads(out.getvalue())


def test_the_openapi_document_has_every_route_of_jobs(document: Any) -> None:
    routes = {
        f"/v1/{pattern.pattern}".replace("<str:", "{").replace("<int:", "{").replace(">", "}")
        for pattern in urlpatterns
    }

    assert not routes - document["paths"].keys()


@pytest.mark.parametrize(
    ("path", "component", "shown"),
    [
        ("/v1/jobs/{}", "Job", "job"),
        ("/v1/job-types/report.generate", "JobType", "type"),
        ("/v1/jobs/{}", "JobFlow", "flow"),
        ("/v1/queues/default", "Queue", "queue"),
    ],
)
def test_answers_have_the_documented_keys(
    api: Api, document: Any, make_job: Callable[..., Job], path: str, component: str, shown: str
) -> None:
    answer = api.get(path.format(make_job().id)).json[shown]

    assert sorted(answer) == sorted(document["components"]["schemas"][component]["properties"])
