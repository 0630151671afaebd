"""Named secrets: API, command, admin, rotation; and that no value is shown anywhere."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client

from access import sealing, secrets
from access.models import AuditEntry, Secret
from access.secrets import SecretUnavailable
from rauskuclaw.operations.checks.stack import sealed_secrets
from rauskuclaw.operations.findings import Level
from tests.apiclient import GPU_ONLY, READER, Api

pytestmark = pytest.mark.django_db

OLD, NEW = sealing.new_key(), sealing.new_key()
VALUE = "a value without any shape that a pattern could know"


@pytest.fixture(autouse=True)
def _master_key(api: Api, configure: Callable[..., Any]) -> None:
    configure(SECRETS_KEY=OLD)


def command(*arguments: str, stdin: str = "", monkeypatch: pytest.MonkeyPatch | None = None) -> dict[str, Any]:
    """What `manage.py secrets … --json` says; it must work."""
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    out = io.StringIO()
    call_command("secrets", *arguments, json=True, stdout=out)
    return dict(json.loads(out.getvalue()))


def test_a_secret_set_over_http_can_be_read_here_and_nowhere_else(api: Api) -> None:
    answer = api("PUT", "/v1/secrets/openai", {"value": VALUE, "note": "billing: team A"})

    assert answer.status == 200
    assert list(answer.json["secret"]) == ["name", "note", "created_at", "created_by", "updated_at", "updated_by"]
    assert secrets.read("openai") == VALUE
    shown = answer.text + api.get("/v1/secrets").text
    assert VALUE not in shown
    assert "enc:" not in shown


def test_the_database_holds_it_sealed(api: Api) -> None:
    api("PUT", "/v1/secrets/openai", {"value": VALUE})

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(s)::text FROM access_secret s UNION ALL SELECT to_jsonb(a)::text"
                       " FROM access_auditentry a")  # fmt: skip
        rows = " ".join(row[0] for row in cursor.fetchall())
    assert '"enc:1:' in rows
    assert VALUE not in rows


def test_one_that_is_not_sealed_cannot_be_stored() -> None:
    with pytest.raises(IntegrityError, match="secret_is_sealed"), transaction.atomic():
        Secret.objects.create(name="openai", sealed=VALUE, created_by="x", updated_by="x")


def test_setting_again_replaces_the_value_and_keeps_the_note(api: Api) -> None:
    api("PUT", "/v1/secrets/openai", {"value": VALUE, "note": "team A"})
    api("PUT", "/v1/secrets/openai", {"value": "the next one"})

    assert secrets.read("openai") == "the next one"
    assert api.get("/v1/secrets").json["secrets"][0]["note"] == "team A"
    assert list(AuditEntry.objects.order_by("id").values_list("action", "object_id", "details")) == [
        ("secret.created", "openai", {}),
        ("secret.updated", "openai", {}),
    ]


def test_a_deleted_secret_is_gone(api: Api) -> None:
    api("PUT", "/v1/secrets/team/openai", {"value": VALUE})

    assert api("DELETE", "/v1/secrets/team/openai").json == {"ok": True, "name": "team/openai", "deleted": True}
    assert api("DELETE", "/v1/secrets/team/openai").code == "NOT_FOUND"
    with pytest.raises(SecretUnavailable, match=r"manage\.py secrets set team/openai"):
        secrets.read("team/openai")


@pytest.mark.parametrize("key", [READER, GPU_ONLY])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_an_admin_of_every_queue_manages_secrets(method: str, key: str, api: Api) -> None:
    path = "/v1/secrets" if method == "GET" else "/v1/secrets/openai"

    assert api(method, path, {"value": VALUE}, key=key).code == "FORBIDDEN"


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        ("Big", {"value": VALUE}, "name"),
        ("x" * 161, {"value": VALUE}, "name"),
        ("openai", {"value": " "}, "value"),
        ("openai", {"value": "x" * 16_385}, "value"),
        ("openai", {}, "value"),
    ],
    ids=["capitals", "long-name", "blank", "long", "none"],
)
def test_what_cannot_be_kept_is_told_by_its_path(name: str, body: Any, path: str, api: Api) -> None:
    answer = api("PUT", f"/v1/secrets/{name}", body)

    assert answer.code == "VALIDATION_ERROR"
    assert answer.json["error"]["details"]["errors"][0]["path"] == path


def test_a_setting_may_be_a_reference_a_sealed_value_or_the_value_itself(api: Api) -> None:
    secrets.put("openai", VALUE, by="test")
    sealed = sealing.seal("sealed one", purpose="OPENAI_API_KEY")

    found = [
        secrets.resolve(text, purpose="OPENAI_API_KEY") for text in (" secret:openai ", sealed, "sk-plain")
    ]  # fmt: skip

    assert found == [VALUE, "sealed one", "sk-plain"]
    with pytest.raises(SecretUnavailable, match="another purpose"):
        secrets.resolve(sealed, purpose="ANTHROPIC_API_KEY")


def test_rotation_seals_all_under_the_new_key(configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "ROTATE_BATCH", 2)
    for n in range(5):
        secrets.put(f"s{n}", f"value {n}", by="test")
    configure(SECRETS_KEY=NEW, SECRETS_OLD_KEYS=OLD)
    secrets.put("young", "value of the new key", by="test")
    assert [finding.level for finding in sealed_secrets()] == [Level.WARN]

    answer = command("rotate")

    configure(SECRETS_KEY=NEW, SECRETS_OLD_KEYS="")
    assert answer["rotated"] == 5
    assert [secrets.read(f"s{n}") for n in range(5)] == [f"value {n}" for n in range(5)]
    assert secrets.by_key() == {answer["key"]: 6}
    assert [finding.level for finding in sealed_secrets()] == [Level.OK]
    assert command("rotate")["rotated"] == 0


def test_a_lost_key_is_told_by_rotation_and_doctor(configure: Callable[..., Any]) -> None:
    secrets.put("openai", VALUE, by="test")
    configure(SECRETS_KEY=NEW)

    assert [finding.level for finding in sealed_secrets()] == [Level.FAIL]
    with pytest.raises(SystemExit, match="1"):
        command("rotate")


def test_the_command_sets_lists_and_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    command("set", "openai", "--note", "team A", stdin=f"{VALUE}\n", monkeypatch=monkeypatch)

    assert secrets.read("openai") == VALUE
    listed = command("list")
    assert [it["name"] for it in listed["secrets"]] == ["openai"]
    assert VALUE not in json.dumps(listed)
    assert command("delete", "openai")["deleted"] is True
    assert command("list")["count"] == 0


def test_the_command_seals_a_setting_and_makes_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = command("seal", "OPENAI_API_KEY", stdin=VALUE, monkeypatch=monkeypatch)["sealed"]

    assert secrets.resolve(sealed, purpose="OPENAI_API_KEY") == VALUE
    assert command("newkey")["key"] != command("newkey")["key"]


def test_the_admin_sets_and_deletes_without_showing_a_value() -> None:
    User.objects.create_superuser("root", password="x")
    client = Client()
    client.login(username="root", password="x")

    made = client.post("/admin/access/secret/add/", {"name": "openai", "value": VALUE, "note": ""})
    pages = [client.get(f"/admin/access/secret/{page}") for page in ("", "openai/change/")]
    changed = client.post("/admin/access/secret/openai/change/", {"value": "the next one", "note": "team A"})

    assert (made.status_code, changed.status_code) == (302, 302)
    assert secrets.read("openai") == "the next one"
    assert all(VALUE not in page.content.decode() and "enc:" not in page.content.decode() for page in pages)
    assert client.post("/admin/access/secret/openai/delete/", {"post": "yes"}).status_code == 302
    assert [it.action for it in AuditEntry.objects.order_by("id")] == [
        "secret.created",
        "secret.updated",
        "secret.deleted",
    ]
