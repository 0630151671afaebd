"""`GET /v1/jobs/{id}/stream` on real web processes (contract section 3)."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from itertools import islice

import pytest
from django.db import connection

from jobs import lifecycle, live
from jobs.models import Job, JobLog
from jobs.representation import job_json
from jobs.transitions import Claim
from tests.live.web import ADMIN, NO_SSE, ONLY_DEFAULT, Received, Web, eventually, is_line, messages, take_until

Write = Callable[..., None]


def is_end(event: Received) -> bool:
    return event.name == "end"


def test_stream_begins_with_headers_retry_the_job_and_its_log(web: Web, job: Job) -> None:
    with web.stream(job.id) as stream:
        headers = stream.response.headers
        first = stream.block()
        update, line = take_until(iter(stream), is_line("Job created"))

    assert (headers["Content-Type"], headers["Cache-Control"]) == ("text/event-stream", "no-cache")
    assert first == ["retry: 2000"]
    assert update == ("job_update", {"job": job_json(Job.objects.get(pk=job.pk))}, None)
    assert line.id == line.data["id"] == JobLog.objects.get(job=job).id


def test_lines_written_later_follow(web: Web, job: Job, write: Write) -> None:
    with web.stream(job.id) as stream:
        take_until(iter(stream), is_line("Job created"))

        write(job.id, "one", "two")

        assert messages(take_until(iter(stream), is_line("two"))) == ["one", "two"]


@pytest.mark.parametrize("count", [199, 200, 201, 450])
def test_long_logs_are_replayed_whole_up_to_the_end(web: Web, job: Job, write: Write, count: int) -> None:
    write(job.id, *(f"line {n}" for n in range(count - 2)))
    lifecycle.cancel(job.id, by="test")

    with web.stream(job.id) as stream:
        events = take_until(iter(stream), is_end)

    ids = [event.id for event in events if event.name == "log_append"]
    assert ids == list(JobLog.objects.filter(job=job).order_by("id").values_list("id", flat=True))
    assert abs(len(ids) - count) <= 1


def test_resumes_after_the_larger_of_last_event_id_and_since_log_id(web: Web, job: Job, write: Write) -> None:
    write(job.id, "one", "two", "three")
    one, two = (JobLog.objects.get(message=message).id for message in ("one", "two"))

    with web.stream(job.id, since=one, query=f"?since_log_id={two}") as stream:
        assert messages(take_until(iter(stream), is_line("three"))) == ["three"]
    with web.stream(job.id, since=two, query="?since_log_id=-7x") as stream:
        assert messages(take_until(iter(stream), is_line("three"))) == ["three"]


def test_a_client_may_resume_on_another_web_process(webs: list[Web], job: Job, write: Write) -> None:
    write(job.id, "one")
    with webs[0].stream(job.id) as stream:
        seen = take_until(iter(stream), is_line("one"))
    write(job.id, "two")

    with webs[1].stream(job.id, since=seen[-1].id or 0) as stream:
        assert messages(take_until(iter(stream), is_line("two"))) == ["two"]


def test_each_line_comes_once_and_in_order_across_reconnects_and_writers(
    webs: list[Web], job: Job, write: Write
) -> None:
    def worker(name: int) -> None:
        for number in range(60):
            write(job.id, *(f"{name}.{number}.{part}" for part in range(3)))
        connection.close()

    total = 1 + 4 * 60 * 3
    writers = [threading.Thread(target=worker, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()

    ids: list[int] = []
    while len(ids) < total:
        with webs[len(ids) % 2].stream(job.id, since=max(ids, default=0)) as stream:
            lines = (event.id for event in stream if event.id)
            ids += islice(lines, min(35, total - len(ids)))
    for writer in writers:
        writer.join()

    assert ids == list(JobLog.objects.filter(job=job).order_by("id").values_list("id", flat=True))


def test_state_precedes_the_lines_of_its_transition_and_the_end_comes_last(
    web: Web, transactional_db: None, claimed: Callable[..., Claim], write: Write
) -> None:
    claim = claimed()
    write(claim.id, "replayed")
    with web.stream(claim.id) as stream:
        take_until(iter(stream), is_line("replayed"))

        lifecycle.succeed(claim.id, claim.fence, result={"n": 1})
        events = take_until(iter(stream), is_end)
        closed = stream.block() == []

    states = [event.data["job"]["status"] for event in events if event.name == "job_update"]
    assert states == ["succeeded"]
    assert events[-1].data == {"reason": "terminal", "status": "succeeded"}
    assert [event.name for event in events].index("job_update") < [event.name for event in events].index("log_append")
    assert closed


def test_progress_and_streaming_text_are_events_of_their_own(
    web: Web, transactional_db: None, claimed: Callable[..., Claim], write: Write
) -> None:
    claim = claimed()
    write(claim.id, "replayed")
    with web.stream(claim.id) as stream:
        take_until(iter(stream), is_line("replayed"))

        lifecycle.append_attempt_logs(claim.id, claim.fence, [], {"fraction": 0.5, "message": "half"})
        [progress] = take_until(iter(stream), lambda event: event.name == "progress")
        live.announce_delta(claim.id, "Hei, \n maailma", fence=claim.fence, offset=0)
        [delta] = take_until(iter(stream), lambda event: event.name == "delta")

    assert progress.data == {"fraction": 0.5, "message": "half"}
    assert delta.data == {"text": "Hei, \n maailma", "offset": 0, "attempt": claim.fence}


def test_a_deleted_job_ends_its_stream(web: Web, job: Job) -> None:
    with web.stream(job.id) as stream:
        take_until(iter(stream), is_line("Job created"))

        Job.objects.filter(pk=job.pk).delete()
        live.announce([job.id])

        assert list(stream) == [("end", {"reason": "deleted"}, None)]


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [(None, 401, "UNAUTHORIZED"), ("wrong-key-wrong-key", 401, "UNAUTHORIZED"), (NO_SSE, 403, "FORBIDDEN")],
)
def test_refusals_are_envelopes_before_the_job_is_looked_up(
    web: Web, transactional_db: None, key: str | None, status: int, code: str
) -> None:
    with web.stream(uuid.uuid4(), key=key) as stream:
        body = json.loads(stream.response.read())

    assert (stream.response.status, body["error"]["code"]) == (status, code)


def test_a_job_of_a_foreign_queue_does_not_exist(web: Web, job: Job, make_job: Callable[..., Job]) -> None:
    foreign = make_job(queue="secret")

    for job_id in (foreign.id, uuid.uuid4(), "no-uuid"):
        with web.stream(job_id, key=ONLY_DEFAULT) as stream:
            assert (stream.response.status, json.loads(stream.response.read())["error"]["code"]) == (404, "NOT_FOUND")


def test_an_event_source_may_send_its_key_in_the_query(web: Web, job: Job) -> None:
    with web.stream(job.id, key=None, query=f"?api_key={ADMIN}") as stream:
        assert take_until(iter(stream), is_line("Job created"))


def test_lines_arrive_while_redis_is_away_and_after_it_is_back(web: Web, job: Job, write: Write) -> None:
    with web.stream(job.id) as stream:
        take_until(iter(stream), is_line("Job created"))

        web.redis.cut()
        write(job.id, "without Redis")
        without = take_until(iter(stream), is_line("without Redis"))
        web.redis.mend()
        write(job.id, "with Redis")

        assert messages(without) == ["without Redis"]
        assert messages(take_until(iter(stream), is_line("with Redis"))) == ["with Redis"]


def test_a_stream_outlives_postgres(web: Web, job: Job, write: Write) -> None:
    with web.stream(job.id) as stream:
        take_until(iter(stream), is_line("Job created"))

        web.postgres.cut()
        write(job.id, "one", "two")
        with web.stream(job.id) as refused:
            error = json.loads(refused.response.read())["error"]["code"]
        web.postgres.mend()

        assert (refused.response.status, error) == (503, "DATABASE_UNAVAILABLE")
        assert messages(take_until(iter(stream), is_line("two"))) == ["one", "two"]


def test_a_client_that_does_not_read_delays_nobody(web: Web, job: Job, write: Write) -> None:
    with web.stream(job.id) as stuck, web.stream(job.id) as quick:
        stuck.block()
        for number in range(60):
            write(job.id, *(f"{number} {'x' * 60_000}" for _ in range(5)), f"line {number}")
            take_until(iter(quick), is_line(f"line {number}"))
        ids = [event.id for event in take_until(iter(stuck), is_line("line 59")) if event.id]

    assert ids == list(JobLog.objects.filter(job=job).order_by("id").values_list("id", flat=True))


def test_the_server_lets_go_of_clients_that_leave(web: Web, job: Job) -> None:
    def connections() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])

    before = connections()
    for _ in range(20):
        with web.stream(job.id) as stream:
            take_until(iter(stream), is_line("Job created"))

    eventually(lambda: connections() <= before + 1)
