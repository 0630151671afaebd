"""`/v1/alerts` and `/v1/alert-rules`, and the admin's pages of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from access.models import AuditEntry
from metrics.models import Alert, AlertRule
from rauskuclaw.config import Config
from tests.apiclient import GPU_ONLY, KEYS, READER, Api

pytestmark = pytest.mark.django_db


def make(code: str = "QUEUE_STALLED", scope: str = "", **columns: Any) -> Alert:
    return Alert.objects.create(code=code, scope=scope, message="m", value=1, **columns)


def resolved(**columns: Any) -> Alert:
    return make(state="resolved", resolved_at=timezone.now(), **columns)


def test_alerts_are_listed_newest_first_a_page_at_a_time(api: Api) -> None:
    made = [resolved().pk for _ in range(3)] + [make().pk]

    first = api.get("/v1/alerts?limit=3", key=READER).json
    rest = api.get(f"/v1/alerts?limit=3&cursor={first['next_cursor']}").json

    assert [alert["id"] for alert in first["alerts"] + rest["alerts"]] == made[::-1]
    assert rest["next_cursor"] is None


def test_alerts_are_filtered_by_state_and_rule(api: Api) -> None:
    resolved()
    firing, other = make(), make("NO_WORKER", "gpu")

    def ids(query: str) -> list[int]:
        return [alert["id"] for alert in api.get(f"/v1/alerts?{query}").json["alerts"]]

    assert ids("state=open") == [other.pk, firing.pk]
    assert ids("state=firing&code=NO_WORKER") == [other.pk]
    assert ids("state=acknowledged") == []
    assert api.get("/v1/alerts?state=loud").code == "VALIDATION_ERROR"


def test_an_alert_is_acknowledged_once_and_recorded(api: Api) -> None:
    alert = make("NO_WORKER", "gpu")

    for _ in range(2):
        shown = api.post(f"/v1/alerts/{alert.pk}/acknowledge").json["alert"]

    assert (shown["state"], shown["acknowledged_by"], shown["scope"]) == ("acknowledged", "key:ci", "gpu")
    assert api.get(f"/v1/alerts/{alert.pk}").json["alert"] == shown
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.actor) == ("alert.acknowledged", str(alert.pk), "key:ci")


def test_a_resolved_alert_cannot_be_acknowledged(api: Api) -> None:
    assert api.post(f"/v1/alerts/{resolved().pk}/acknowledge").code == "CONFLICT"
    assert api.post("/v1/alerts/0/acknowledge").code == "NOT_FOUND"
    assert api.get("/v1/alerts/0").code == "NOT_FOUND"


def test_rules_tell_what_holds(api: Api, configure: Callable[..., Config]) -> None:
    configure(ALERT_QUEUE_STALLED_SEC=60, API_KEYS_JSON=KEYS)
    AlertRule.objects.create(code="HIGH_FAILURE_RATE", threshold=12.5, window_sec=120)

    rules = {rule["code"]: rule for rule in api.get("/v1/alert-rules", key=READER).json["rules"]}

    assert rules["QUEUE_STALLED"] | {"meaning": ""} == {
        "code": "QUEUE_STALLED", "meaning": "", "unit": "seconds", "enabled": True, "threshold": 60.0,
        "window_sec": None, "min_count": None, "cooldown_sec": 900, "webhooks": [], "emails": [],
    }  # fmt: skip
    failing = rules["HIGH_FAILURE_RATE"]
    assert (failing["threshold"], failing["window_sec"], failing["min_count"]) == (12.5, 120, 20)


def test_a_rule_is_changed_and_set_back_to_its_default(api: Api) -> None:
    changed = api.patch("/v1/alert-rules/NO_WORKER", {"threshold": 5, "emails": ["ops@example.org"]}).json["rule"]
    assert (changed["threshold"], changed["emails"]) == (5, ["ops@example.org"])

    assert api.patch("/v1/alert-rules/NO_WORKER", {"threshold": None}).json["rule"]["threshold"] == 60
    assert AuditEntry.objects.filter(action="alert_rule.updated").count() == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"threshold": 0}, "threshold"), ({"threshold": "5"}, "threshold"), ({"window_sec": 59}, "window_sec"),
        ({"cooldown_sec": -1}, "cooldown_sec"), ({"emails": ["no address"]}, "emails.0"),
        ({"webhooks": ["https://not.listed.example/"]}, "webhooks.0"), ({"webhooks": ["file:///etc"]}, "webhooks.0"),
        ({"emails": ["a@b.example"] * 21}, "emails"), ({"threshhold": 5}, "threshhold"),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_rule_cannot_be_is_refused_by_field(api: Api, body: Any, path: str) -> None:
    answer = api.patch("/v1/alert-rules/QUEUE_STALLED", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [fault["path"] for fault in answer.json["error"]["details"]["errors"]] == [path]
    assert not AlertRule.objects.exists()


def test_a_rule_that_does_not_exist_is_a_404(api: Api) -> None:
    assert api.get("/v1/alert-rules/NOPE").code == "NOT_FOUND"
    assert api.patch("/v1/alert-rules/NOPE", {"threshold": 1}).code == "NOT_FOUND"
    assert api.patch("/v1/alert-rules/QUEUE_STALLED", {}).code == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/alerts"), ("GET", "/v1/alerts/1"), ("POST", "/v1/alerts/1/acknowledge"),
        ("GET", "/v1/alert-rules"), ("GET", "/v1/alert-rules/NO_WORKER"), ("PATCH", "/v1/alert-rules/NO_WORKER"),
    ],
)  # fmt: skip
def test_who_may_not(api: Api, method: str, path: str) -> None:
    assert api(method, path, key=None).code == "UNAUTHORIZED"
    assert api(method, path, key=GPU_ONLY).code == "FORBIDDEN"
    if method != "GET":
        assert api(method, path, key=READER).code == "FORBIDDEN"


def test_in_the_admin_rules_are_edited_and_alerts_acknowledged() -> None:
    admin = Client()
    admin.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    alert = make()

    assert "60 seconds" in admin.get("/admin/metrics/alertrule/").content.decode()
    form = {"enabled": "on", "threshold": "30", "cooldown_sec": "900", "webhooks": "", "emails": "ops@example.org"}
    page = admin.get("/admin/metrics/alertrule/NO_WORKER/change/").content.decode()
    assert "no live worker consumes" in page
    answer = admin.post("/admin/metrics/alertrule/NO_WORKER/change/", form)
    assert answer.status_code == 302, answer.content.decode()
    rule = AlertRule.objects.get(code="NO_WORKER")
    assert (rule.threshold, rule.emails) == (30, ["ops@example.org"])
    refused = admin.post("/admin/metrics/alertrule/NO_WORKER/change/", form | {"threshold": "-1"}).content.decode()
    assert "greater than 0" in refused

    action = {"action": "acknowledge", "_selected_action": [alert.pk]}
    told = admin.post("/admin/metrics/alert/", action, follow=True).content.decode()
    assert "Acknowledged" in told
    assert admin.get(f"/admin/metrics/alert/{alert.pk}/change/").status_code == 200
    alert.refresh_from_db()
    assert alert.acknowledged_by == "user:root"
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["alert_rule.updated", "alert.acknowledged"]
