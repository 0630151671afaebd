"""Contract 4.6: the same Idempotency-Key never makes two jobs; and what one POST /v1/jobs costs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.models import IdempotencyKey, Job, JobLog, JobType
from tests.apiclient import KEYS, Answer, Api

BODY: dict[str, Any] = {"type": "any", "input": {"a": 1, "b": [1, 2]}, "tags": ["x"]}


@pytest.fixture
def anytype(make_type: Callable[..., JobType]) -> JobType:
    return make_type("any", handler="plugin:absent", default_timeout_sec=60)


def connect() -> None:
    """Open this thread's connection. On a busy machine a hundred at once take longer than the API would wait."""
    for _ in range(10):
        with suppress(OperationalError):
            connection.ensure_connection()
            return


@pytest.mark.usefixtures("anytype")
class TestOneClient:
    def test_a_repeat_is_answered_with_the_job_that_exists_in_its_state_of_now(self, api: Api) -> None:
        first = api.post("/v1/jobs", BODY, idempotency_key="k")
        api.post(f"/v1/jobs/{first.json['job']['id']}/cancel")

        second = api.post("/v1/jobs", BODY, idempotency_key="k")

        assert (first.status, first.json["idempotent"]) == (201, False)
        assert (second.status, second.json["idempotent"]) == (200, True)
        assert (second.json["job"]["id"], second.json["job"]["status"]) == (first.json["job"]["id"], "cancelled")
        assert Job.objects.count() == 1

    @pytest.mark.parametrize(
        "same",
        [
            {**BODY, "input": {"b": [1, 2], "a": 1}},
            {**BODY, "queue": "default", "priority": 5, "timeout_sec": 60, "max_attempts": 1, "callback_url": None},
            {**BODY, "priority": 5.0, "queue": " "},
            {**BODY, "unknown": True},
        ],
        ids=["keys in another order", "defaults spelt out", "other spellings", "unknown field"],
    )
    def test_requests_that_mean_the_same_are_the_same(self, api: Api, same: dict[str, Any]) -> None:
        api.post("/v1/jobs", BODY, idempotency_key="k")

        assert api.post("/v1/jobs", same, idempotency_key="k").status == 200

    @pytest.mark.parametrize(
        "change",
        [
            {"input": {"a": 1, "b": [2, 1]}}, {"input": None}, {"tags": []}, {"queue": "gpu"}, {"priority": 6},
            {"timeout_sec": 61}, {"max_attempts": 2}, {"callback_url": "https://example.org/x"},
        ],
    )  # fmt: skip
    def test_another_request_with_the_key_is_a_conflict(self, api: Api, change: dict[str, Any]) -> None:
        api.post("/v1/jobs", BODY, idempotency_key="k")

        answer = api.post("/v1/jobs", {**BODY, **change}, idempotency_key="k")

        assert (answer.status, answer.code) == (409, "IDEMPOTENCY_CONFLICT")
        assert Job.objects.count() == 1

    def test_the_key_is_trimmed_and_a_blank_one_is_none(self, api: Api) -> None:
        statuses = [api.post("/v1/jobs", BODY, idempotency_key=key).status for key in ("k", "  k ", "  ", "")]

        assert statuses == [201, 200, 201, 201]

    def test_a_refused_request_does_not_use_its_key_up(self, api: Api) -> None:
        refused = api.post("/v1/jobs", {**BODY, "priority": 99}, idempotency_key="k")

        assert (refused.status, api.post("/v1/jobs", BODY, idempotency_key="k").status) == (400, 201)

    def test_an_expired_key_is_free_again(self, api: Api) -> None:
        first = api.post("/v1/jobs", BODY, idempotency_key="k")
        IdempotencyKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

        second = api.post("/v1/jobs", {**BODY, "priority": 1}, idempotency_key="k")
        third = api.post("/v1/jobs", {**BODY, "priority": 1}, idempotency_key="k")

        assert (first.status, second.status, third.status) == (201, 201, 200)

    def test_the_key_itself_is_not_stored(self, api: Api) -> None:
        api.post("/v1/jobs", BODY, idempotency_key="secret-looking-key")

        assert "secret" not in str(IdempotencyKey.objects.values().get())


@pytest.mark.django_db(transaction=True)
class TestManyClients:
    @pytest.fixture(autouse=True)
    def _ready(self, configure: Callable[..., Any]) -> None:
        configure(API_KEYS_JSON=KEYS)
        JobType.objects.create(name="any", handler="plugin:absent")

    def at_once(self, clients: int, body: Callable[[int], dict[str, Any]]) -> list[Answer]:
        """The answers to requests with one key that all start at the same moment."""
        barrier = threading.Barrier(clients)

        def send(number: int) -> Answer:
            try:
                connect()
                barrier.wait(60)
                return Api().post("/v1/jobs", body(number), idempotency_key="one")
            finally:
                connections.close_all()

        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(send, range(clients)))

    def test_a_hundred_clients_with_one_key_make_one_job(self) -> None:
        answers = self.at_once(100, lambda _: BODY)

        assert Counter(answer.status for answer in answers) == {201: 1, 200: 99}
        assert len({answer.json["job"]["id"] for answer in answers}) == 1
        assert (Job.objects.count(), JobLog.objects.count()) == (1, 1)

    def test_of_clients_with_one_key_and_different_requests_one_wins(self) -> None:
        answers = self.at_once(20, lambda number: {**BODY, "input": number})

        assert Counter(answer.status for answer in answers) == {201: 1, 409: 19}
        assert Job.objects.count() == 1

    @pytest.mark.parametrize("headers", [{}, {"idempotency_key": "k"}])
    def test_creating_a_job_costs_two_statements_and_no_transaction_around_them(self, headers: dict[str, str]) -> None:
        api = Api()
        api.post("/v1/jobs", BODY)  # connects

        with CaptureQueriesContext(connection) as captured:
            assert api.post("/v1/jobs", BODY, **headers).status == 201

        statements = [query["sql"] for query in captured]
        assert "BEGIN" not in statements
        assert len(statements) <= 2
