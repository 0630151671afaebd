"""`/v1/keys`: managing stored keys over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from access.models import ApiKey
from tests.access.conftest import MakeKey
from tests.apiclient import GPU_ONLY, READER, Api

pytestmark = pytest.mark.django_db

api = Api()


def test_a_key_made_over_http_works_and_is_shown_once() -> None:
    made = api.post("/v1/keys", {"name": "bot", "role": "read", "queue_allowlist": ["gpu"]})

    secret = made.json["secret"]
    whoami = api.get("/v1/auth/whoami", key=secret).json["auth"]
    assert made.status == 201
    assert (whoami["name"], whoami["role"], whoami["queue_allowlist"]) == ("bot", "read", ["gpu"])
    assert secret not in api.get("/v1/keys").text + api.get(f"/v1/keys/{made.json['key']['id']}").text


def test_a_key_reads_unless_it_is_told_otherwise() -> None:
    assert api.post("/v1/keys", {"name": "bot"}).json["key"]["role"] == "read"


def test_a_key_object_has_exactly_these_fields(make_key: MakeKey) -> None:
    made = make_key()

    key = api.get(f"/v1/keys/{made.key.pk}").json["key"]

    assert list(key) == [
        "id", "name", "prefix", "role", "sse", "queue_allowlist",
        "created_at", "created_by", "last_used_at", "expires_at", "revoked_at",
    ]  # fmt: skip


def test_deleting_revokes_and_keeps_the_row(
    make_key: MakeKey, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    made = make_key()

    with django_capture_on_commit_callbacks(execute=True):
        answer = api("DELETE", f"/v1/keys/{made.key.pk}")

    assert answer.json["key"]["revoked_at"] is not None
    assert api.get("/v1/auth/whoami", key=made.secret).status == 401
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_key_is_not_found(method: str) -> None:
    assert api(method, "/v1/keys/00000000-0000-4000-8000-000000000000").code == "NOT_FOUND"


@pytest.mark.parametrize("key", [READER, GPU_ONLY])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_an_admin_of_every_queue_manages_keys(method: str, key: str) -> None:
    assert api(method, "/v1/keys", {"name": "bot"}, key=key).code == "FORBIDDEN"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "name"),
        ({"name": "bot", "role": "root"}, "role"),
        ({"name": "bot", "queue_allowlist": []}, "queue_allowlist"),
        ({"name": "bot", "queue_allowlist": ["no queue"]}, "queue_allowlist[0]"),
        ({"name": "bot", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "bot", "expires_at": "soon"}, "expires_at"),
        ({"name": ["bot"]}, "name"),
    ],
)
def test_a_wrong_field_is_told_by_its_path(body: Any, path: str) -> None:
    answer = api.post("/v1/keys", body)

    assert answer.code == "VALIDATION_ERROR"
    assert answer.json["error"]["details"]["errors"][0]["path"] == path


def test_a_taken_name_is_a_conflict(make_key: MakeKey) -> None:
    make_key("bot")

    assert api.post("/v1/keys", {"name": "bot"}).code == "CONFLICT"


def test_the_list_is_walked_page_by_page_newest_first(make_key: MakeKey) -> None:
    for name in ("one", "two", "three"):
        make_key(name)

    first = api.get("/v1/keys?limit=2").json
    second = api.get(f"/v1/keys?limit=2&cursor={first['next_cursor']}").json

    names = {key["name"] for page in (first, second) for key in page["keys"]}
    assert (len(first["keys"]), len(second["keys"]), second["next_cursor"]) == (2, 1, None)
    assert names == {"one", "two", "three"}


def test_the_list_can_show_the_live_or_the_revoked_ones(make_key: MakeKey) -> None:
    make_key("live")
    api("DELETE", f"/v1/keys/{make_key('revoked').key.pk}")

    assert [key["name"] for key in api.get("/v1/keys?state=live").json["keys"]] == ["live"]
    assert [key["name"] for key in api.get("/v1/keys?state=revoked").json["keys"]] == ["revoked"]
    assert len(api.get("/v1/keys?state=undefined").json["keys"]) == 2
    assert api.get("/v1/keys?state=dead").code == "VALIDATION_ERROR"


def test_the_openapi_schema_of_access_is_complete_and_without_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator

    GENERATOR_STATS.reset()
    schema = SchemaGenerator(urlconf="access.api.urls").get_schema(request=None, public=True)  # type: ignore[no-untyped-call]

    assert set(schema["components"]["securitySchemes"]) == {"ApiKey", "Session"}
    assert set(schema["paths"]) == {
        "/auth/whoami", "/auth/sse-token", "/auth/session", "/keys", "/keys/{key_id}", "/secrets", "/secrets/{name}",
        "/ui-prefs",
    }  # fmt: skip
    assert (capsys.readouterr().err, bool(GENERATOR_STATS)) == ("", False)
