"""`manage.py jobs`."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from django.core.management import load_command_class
from django.db import connection

from access.models import AuditEntry
from jobs import lifecycle
from jobs.job_types import seed
from jobs.lookup import id_range
from jobs.models import Job, Status
from jobs.transitions import Claim
from tests.operations.conftest import Manage, Tee

MakeJob = Callable[..., Job]
DEADLINE_SEC = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SEC
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Runs something in a thread that gives its database connection back."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                connection.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(DEADLINE_SEC)


def test_list_shows_the_newest_jobs_that_fit(manage: Manage, make_job: MakeJob) -> None:
    make_job(queue="gpu")
    job = make_job(tags=("nightly",))

    assert [it["id"] for it in manage("jobs", "list", "--queue", "default", "--json").json["jobs"]] == [str(job.id)]
    assert len(manage("jobs", "list", "--limit", "1", "--json").json["jobs"]) == 1
    assert manage("jobs", "list", "--status", "failed", "--json").json == {"ok": True, "jobs": []}
    text = manage("jobs", "list", "--type", "report.generate", "--tag", "nightly").out
    assert [line.split() for line in text.splitlines()][1][:4] == [
        str(job.id)[:8], "queued", "report.generate", "default",
    ]  # fmt: skip


def test_the_table_is_aligned_and_plain_where_nobody_looks(manage: Manage, make_job: MakeJob) -> None:
    make_job(queue="a-long-queue-name")
    make_job()

    lines = manage("jobs", "list").out.splitlines()

    assert {line.index("report.generate") for line in lines[1:]} == {lines[0].index("TYPE")}
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_colours_unless_it_wants_none(
    manage: Manage, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_job()
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert "\x1b[33mqueued" in manage("jobs", "list", out=Tee(tty=True)).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in manage("jobs", "list", out=Tee(tty=True)).out


def test_show_explains_the_job(manage: Manage, make_job: MakeJob) -> None:
    job = make_job(input={"title": "Weekly"}, callback_url="https://hooks.example.org/x")
    lifecycle.cancel(job.id, by="test")

    ran = manage("jobs", "show", str(job.id)[:6])
    facts = manage("jobs", "show", str(job.id), "--json").json

    for shown in (str(job.id), "Weekly", "was cancelled at", "hooks.example.org", "by test"):
        assert shown in ran.out
    assert facts["job"]["status"] == "cancelled"
    assert facts["reasons"][0]["code"] == "CANCELLED"
    assert len(facts["callbacks"]) == 1


def test_what_jobs_wrote_cannot_steer_the_terminal(manage: Manage, make_job: MakeJob) -> None:
    job = make_job(tags=("\x1b]0;owned\x07",))
    lifecycle.append_logs(job.id, [("info", "\x1b[2Jgone", None)])

    shown = "".join(manage("jobs", *verb).out for verb in (["list"], ["show", str(job.id)], ["tail", str(job.id)]))

    assert "\x1b" not in shown
    assert "\\x1b[2Jgone" in shown


# Ids


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("abc", 2, "VALIDATION_ERROR"),
        ("no-such-job", 2, "VALIDATION_ERROR"),
        ("a" * 33, 2, "VALIDATION_ERROR"),
        ("ffff", 1, "NOT_FOUND"),
    ],
)
def test_an_id_that_fits_no_job_is_told(manage: Manage, db: None, text: str, code: int, told: str) -> None:
    ran = manage("jobs", "show", text, "--json")

    assert (ran.code, ran.json["ok"], ran.json["error"]["code"]) == (code, False, told)
    assert manage("jobs", "show", text).err.startswith("error: ")


def test_a_prefix_of_several_ids_is_refused_and_names_them(manage: Manage, make_job: MakeJob) -> None:
    ids = [uuid.UUID(f"aaaa{number}000-0000-4000-8000-000000000000") for number in (1, 2)]
    for new in ids:
        job = make_job()
        job.pk = new
        job.save(force_insert=True)

    ran = manage("jobs", "show", "AAAA", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "CONFLICT")
    assert ran.json["error"]["details"]["ids"] == [str(new) for new in ids]
    assert manage("jobs", "show", "aaaa1", "--json").json["job"]["id"] == str(ids[0])


def test_a_whole_id_is_a_range_of_one() -> None:
    job_id = uuid.uuid4()

    assert id_range(str(job_id)) == id_range(job_id.hex.upper()) == (job_id, job_id)


# Cancel, retry, create


def test_cancel_does_what_it_can_and_tells_each_outcome(
    manage: Manage, make_job: MakeJob, claimed: Callable[..., Claim]
) -> None:
    job, done = make_job(), claimed()
    lifecycle.succeed(done.id, done.fence, result=None)

    ran = manage("jobs", "cancel", str(job.id), str(done.id), "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "CONFLICT")
    assert [result["ok"] for result in ran.json["results"]] == [True, False]
    job.refresh_from_db()
    assert job.status == Status.CANCELLED


def test_cancel_of_one_job_says_so(manage: Manage, make_job: MakeJob) -> None:
    job = make_job()

    ran = manage("jobs", "cancel", str(job.id)[:8])

    assert (ran.code, ran.out.strip()) == (0, f"✓ {job.id}  cancelled")
    assert job.logs.filter(message="Job cancelled", meta__by__startswith="cli:").exists()


def test_retry_queues_the_job_again_and_records_who_did_it(manage: Manage, make_job: MakeJob) -> None:
    job = make_job()
    lifecycle.cancel(job.id, by="test")

    ran = manage("jobs", "retry", str(job.id))

    assert (ran.code, "queued again" in ran.out) == (0, True)
    assert AuditEntry.objects.get().actor.startswith("cli:")


def test_retry_of_a_running_job_is_refused(manage: Manage, claimed: Callable[..., Claim]) -> None:
    ran = manage("jobs", "retry", str(claimed().id))

    assert ran.code == 1
    assert "only failed and cancelled jobs can be retried" in ran.out


def test_the_list_is_narrowed_by_error(manage: Manage, make_job: MakeJob, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    lifecycle.fail(claim.id, claim.fence, code="UPSTREAM_ERROR", message="502", retry=False)
    make_job()

    found = manage("jobs", "list", "--error-code", "UPSTREAM_ERROR", "--json").json["jobs"]

    assert [job["id"] for job in found] == [str(claim.id)]


def test_bulk_makes_the_job_that_does_it(manage: Manage, db: None) -> None:
    seed()

    ran = manage("jobs", "bulk", "retry", "--error-code", "UPSTREAM_ERROR", "--type", "data.fetch", "--on", "side")

    job = Job.objects.get()
    assert (job.type, job.queue, job.created_by.split(":")[0]) == ("system.jobs.bulk", "side", "cli")
    assert job.input == {
        "action": "retry", "filter": {"type": "data.fetch", "error_code": "UPSTREAM_ERROR"}, "queues": None,
    }  # fmt: skip
    assert f"jobs tail -f {job.id}" in ran.out


def test_bulk_without_a_filter_is_refused(manage: Manage, db: None) -> None:
    seed()

    ran = manage("jobs", "bulk", "cancel", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (2, "VALIDATION_ERROR")
    assert not Job.objects.exists()


def test_create_makes_a_job(manage: Manage, make_type: Callable[..., object]) -> None:
    make_type("report.generate")

    ran = manage("jobs", "create", "report.generate", "--input", '{"title": "x"}', "--priority", "9", "--tag", "a")

    job = Job.objects.get(pk=ran.out.strip())
    assert (job.input, job.priority, job.tags) == ({"title": "x"}, 9, ["a"])
    assert job.created_by.startswith("cli:")


def test_create_reads_the_input_from_stdin(
    manage: Manage, make_type: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_type("report.generate")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"title": "piped"}'))

    assert manage("jobs", "create", "report.generate", "--input", "-", "--json").json["job"]["input"] == {
        "title": "piped"
    }


def test_create_with_the_same_key_makes_one_job(manage: Manage, make_type: Callable[..., object]) -> None:
    make_type("report.generate")
    answers = [manage("jobs", "create", "report.generate", "--idempotency-key", "k", "--json").json for _ in range(2)]

    assert [answer["idempotent"] for answer in answers] == [False, True]
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["no.such.type"],
        ["report.generate", "--input", "{"],
        ["report.generate", "--input", '1,{"queue":2}'],
        ["report.generate", "--priority", "11"],
    ],
)
def test_create_refuses_what_the_api_refuses(
    manage: Manage, make_type: Callable[..., object], arguments: list[str]
) -> None:
    make_type("report.generate")

    assert manage("jobs", "create", *arguments).code == 2
    assert not Job.objects.exists()


# Tail


def test_tail_shows_the_newest_lines_and_the_state(manage: Manage, make_job: MakeJob) -> None:
    job = make_job()
    lifecycle.append_logs(job.id, [("warn", f"line {number}", {"n": number}) for number in range(3)])

    lines = manage("jobs", "tail", str(job.id), "-n", "2").out.splitlines()
    facts = manage("jobs", "tail", str(job.id), "--json").json

    assert [line.partition("  ")[2] for line in lines[:2]] == ['warn   line 1  {"n": 1}', 'warn   line 2  {"n": 2}']
    assert lines[2].startswith("queued")
    assert [log["message"] for log in facts["logs"]] == ["Job created", "line 0", "line 1", "line 2"]


@pytest.mark.django_db(transaction=True)
def test_tail_follows_until_the_end(
    manage: Manage, claimed: Callable[..., Claim], in_background: Callable[..., None]
) -> None:
    job, out = claimed(), Tee()

    def work() -> None:
        until(lambda: "Job claimed" in out.getvalue())
        lifecycle.append_logs(job.id, [("info", f"line {number}", None) for number in range(300)])
        lifecycle.succeed(job.id, job.fence, result={})

    in_background(work)
    ran = manage("jobs", "tail", str(job.id)[:8], "--follow", out=out)

    messages = [line.split("  ")[2].strip() for line in ran.out.splitlines()[:-1]]
    assert messages == ["Job created", "Job claimed", *(f"line {number}" for number in range(300)), "Job succeeded"]
    assert ran.out.splitlines()[-1].startswith("succeeded  attempt 1 of 1")


@pytest.mark.django_db(transaction=True)
def test_tail_that_follows_an_ended_job_tells_it_in_one_object(manage: Manage, claimed: Callable[..., Claim]) -> None:
    job = claimed()
    lifecycle.fail(job.id, job.fence, code=None, message="no luck", retry=False)

    answer = manage("jobs", "tail", str(job.id), "-f", "-n", "0", "--json").json

    assert (answer["ok"], answer["job"]["status"], answer["logs"]) == (True, "failed", [])


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_ends_a_tail_cleanly(manage: Manage, make_job: MakeJob, in_background: Callable[..., None]) -> None:
    job, out = make_job(), Tee()

    def interrupt() -> None:
        until(lambda: "Job created" in out.getvalue())
        os.kill(os.getpid(), signal.SIGINT)

    in_background(interrupt)
    ran = manage("jobs", "tail", str(job.id), "-f", out=out)

    assert (ran.code, ran.err) == (130, "")
    assert "Traceback" not in ran.out


# Being asked wrongly


@pytest.mark.parametrize("arguments", [[], ["jump"], ["show"], ["list", "--status", "odd"], ["list", "--limit", "x"]])
def test_wrong_usage_is_told_in_json_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = load_command_class("jobs", "jobs")

    with pytest.raises(SystemExit) as exit_:
        command.run_from_argv(["manage.py", "jobs", *arguments, "--json"])

    said = capsys.readouterr()
    assert exit_.value.code == 2
    assert json.loads(said.out)["error"]["code"] == "VALIDATION_ERROR"
    assert said.err == ""


def test_wrong_usage_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_command_class("jobs", "jobs").run_from_argv(["manage.py", "jobs", "show"])

    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err
