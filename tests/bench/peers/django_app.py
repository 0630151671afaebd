"""The bare Django views: a POST is one INSERT, a batch is one INSERT of many rows, and `enqueue` is one Celery task.

No middleware, no authentication, no validation, no second row. Served as RauskuClaw is: uvicorn with the same options,
the same number of threads, connections kept; `application` through the same bridge to WSGI, `plain` through a2wsgi as
it comes.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import Any, ClassVar
from urllib.parse import urlsplit

import django
from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import models
from django.http import HttpRequest, JsonResponse
from django.urls import path

from rauskuclaw.api.bridge import WSGIBridge

THREADS = 16

_url = urlsplit(os.environ["BARE_URL"])
settings.configure(
    SECRET_KEY="bare",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[],
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql", "HOST": _url.hostname, "PORT": _url.port,
            "NAME": _url.path[1:], "USER": _url.username, "PASSWORD": _url.password, "CONN_MAX_AGE": None,
        }
    },
)  # fmt: skip
django.setup()


class Row(models.Model):
    """What a request leaves."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    payload = models.JSONField()

    class Meta:
        app_label = "bare"
        db_table = "bare_row"
        managed = False

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    def __str__(self) -> str:
        return str(self.id)


def insert(request: HttpRequest) -> JsonResponse:
    """One row."""
    row = Row.objects.create(payload=json.loads(request.body))
    return JsonResponse({"ok": True, "id": str(row.id)}, status=201)


def insert_many(request: HttpRequest) -> JsonResponse:
    """As many rows as the batch has items, in one INSERT."""
    rows = Row.objects.bulk_create(Row(payload=item) for item in json.loads(request.body)["jobs"])
    return JsonResponse({"ok": True, "ids": [str(row.id) for row in rows]})


def enqueue(request: HttpRequest) -> JsonResponse:
    """One task of the bare Celery application."""
    from tests.bench.peers.celery_app import noop

    json.loads(request.body)
    return JsonResponse({"ok": True, "id": noop.delay().id}, status=201)


urlpatterns = [path("rows", insert), path("rows/batch", insert_many), path("enqueue", enqueue)]
application = WSGIBridge(get_wsgi_application(), threads=THREADS, limit_bytes=1_048_576)
plain = WSGIMiddleware(get_wsgi_application(), workers=THREADS)  # type: ignore[arg-type] # its own name for an environ
