"""`/ws/jobs/{id}` and `/ws/jobs` on real web processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedError

from jobs import lifecycle
from jobs.models import Job, JobLog
from tests.live.web import ADMIN, NO_SSE, ONLY_DEFAULT, Received, Web, is_line, messages, take_until

Make = Callable[..., Job]


def is_resync(event: Received) -> bool:
    return event.name == "resync"


def shows(job: Job, status: str) -> Callable[[Received], bool]:
    return lambda event: (
        event.name == "job_update"
        and (event.data["job"]["id"], event.data["job"]["status"])
        == (
            str(job.id),
            status,
        )
    )


def test_socket_replays_follows_and_ends_with_the_job(web: Web, job: Job, write: Callable[..., None]) -> None:
    with web.socket(f"/ws/jobs/{job.id}") as socket:
        replayed = take_until(iter(socket), is_line("Job created"))
        write(job.id, "later")
        take_until(iter(socket), is_line("later"))
        lifecycle.cancel(job.id, by="test")
        rest = list(socket)

    assert [event.name for event in replayed] == ["job_update", "log_append"]
    assert rest[-1] == ("end", {"reason": "terminal", "status": "cancelled"}, None)
    assert socket.connection.close_code == 1000


def test_socket_resumes_after_since_log_id(web: Web, job: Job, write: Callable[..., None]) -> None:
    write(job.id, "one", "two")
    one = JobLog.objects.get(message="one").id

    with web.socket(f"/ws/jobs/{job.id}?since_log_id={one}") as socket:
        assert messages(take_until(iter(socket), is_line("two"))) == ["two"]


@pytest.mark.parametrize(
    ("path", "key", "code"),
    [
        ("/ws/jobs", None, 4401),
        ("/ws/jobs", "wrong-key-wrong-key", 4401),
        ("/ws/jobs", NO_SSE, 4403),
        ("/ws/jobs?queue=secret", ONLY_DEFAULT, 4403),
        ("/ws/jobs/00000000-0000-4000-8000-00000000dead", ADMIN, 4404),
        ("/ws/jobs/00000000-0000-4000-8000-00000000dead", None, 4401),
        ("/ws/jobs/no-uuid", ADMIN, 4404),
    ],
)
def test_refusals_are_close_codes_a_browser_can_see(web: Web, job: Job, path: str, key: str | None, code: int) -> None:
    with web.socket(path, key=key) as socket, pytest.raises(ConnectionClosedError) as closed:
        socket.connection.recv(timeout=15)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


def test_a_job_of_a_foreign_queue_does_not_exist(web: Web, make_job: Make, job: Job) -> None:
    foreign = make_job(queue="secret")

    with (
        web.socket(f"/ws/jobs/{foreign.id}", key=ONLY_DEFAULT) as socket,
        pytest.raises(ConnectionClosedError) as closed,
    ):
        socket.connection.recv(timeout=15)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404


def test_the_list_asks_for_a_first_load_and_then_shows_changes(web: Web, job: Job, make_job: Make) -> None:
    with web.socket("/ws/jobs") as socket:
        take_until(iter(socket), is_resync)

        fresh = make_job()
        take_until(iter(socket), shows(fresh, "queued"))
        lifecycle.cancel(job.id, by="test")
        take_until(iter(socket), shows(job, "cancelled"))


def test_the_list_shows_visible_queues_and_wanted_types_only(web: Web, job: Job, make_job: Make) -> None:
    with web.socket("/ws/jobs?type=report.generate", key=ONLY_DEFAULT) as socket:
        take_until(iter(socket), is_resync)

        make_job(queue="secret")
        make_job(type="deploy.run")
        wanted = make_job()
        shown = take_until(iter(socket), shows(wanted, "queued"))
        # Another reading: what was rung for before it has been shown, or never will be.
        lifecycle.cancel(wanted.id, by="test")
        shown += take_until(iter(socket), shows(wanted, "cancelled"))

    # A hint goes out behind its commit, so the job that was there before may be shown, too.
    assert {event.data["job"]["id"] for event in shown if event.name == "job_update"} <= {str(job.id), str(wanted.id)}


def test_a_log_line_changes_no_list(web: Web, job: Job, write: Callable[..., None]) -> None:
    with web.socket("/ws/jobs") as socket:
        take_until(iter(socket), is_resync)
        write(job.id, "first sight")
        take_until(iter(socket), shows(job, "queued"))

        write(job.id, "no change")
        lifecycle.cancel(job.id, by="test")
        events = take_until(iter(socket), shows(job, "cancelled"))

    assert [event.data["job"]["status"] for event in events if event.name == "job_update"] == ["cancelled"]


def test_the_list_is_to_be_loaded_again_when_redis_was_away(web: Web, job: Job) -> None:
    with web.socket("/ws/jobs") as socket:
        take_until(iter(socket), is_resync)

        web.redis.cut()
        take_until(iter(socket), is_resync)
        web.redis.mend()
        take_until(iter(socket), is_resync)
