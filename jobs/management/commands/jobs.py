"""`manage.py jobs`: look at jobs, follow, cancel, retry and create them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from django.core.management.base import CommandParser

from access.principals import Principal
from jobs import bulk, lifecycle, queries
from jobs.explain import explain
from jobs.handlers.bulk import Action
from jobs.live.rows import Snapshot
from jobs.lookup import job_by_prefix
from jobs.models import Job, Status
from jobs.representation import attempt_json, delivery_json, job_json, log_json
from jobs.requests import parse_new_job
from jobs.submission import submit
from jobs.tail import follow
from jobs.text import job_page, job_table, log_text, state_text
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor, first_line, json_argument
from rauskuclaw.operations.text import count

FILTERS = ("status", "queue", "type", "tag", "error_code")
ID_HELP = "the job's id, or at least the first 4 characters of it"


class Command(OperatorCommand):
    """The operator's way to the verbs of `jobs.lifecycle` and `jobs.submission`, past every queue allowlist."""

    help = "List, show, follow, cancel, retry and create jobs; cancel and retry many."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "the newest jobs, newest first",
                "show": "everything about one job: why it is where it is, input, result, error, attempts, callbacks",
                "tail": "a job's log; -f follows it live and ends with its final state",
                "cancel": "cancel queued and running jobs",
                "retry": "run failed and cancelled jobs again, as a new series of attempts",
                "bulk": "make a job that cancels or retries every job that the filters find",
                "create": "create a job",
            },
        )
        listing = verbs["list"]
        for verb in (listing, verbs["bulk"]):
            verb.add_argument("--status", choices=Status.values)
            verb.add_argument("--queue")
            verb.add_argument("--type")
            verb.add_argument("--tag")
            verb.add_argument("--error-code", help="of the last error, e.g. UPSTREAM_ERROR")
        verbs["bulk"].add_argument("action", choices=get_args(Action))
        verbs["bulk"].add_argument("--on", metavar="QUEUE", help="where the bulk job itself runs")
        listing.add_argument("--limit", type=int, default=20, help="how many; default 20, at most 1000")
        verbs["show"].add_argument("id", help=ID_HELP)
        verbs["tail"].add_argument("id", help=ID_HELP)
        verbs["tail"].add_argument("-f", "--follow", action="store_true", help="until the job ends; Ctrl-C stops")
        verbs["tail"].add_argument("-n", "--lines", type=int, default=200, help="of the past; default 200")
        for name in ("cancel", "retry"):
            verbs[name].add_argument("ids", nargs="+", metavar="ID", help=ID_HELP)
        create = verbs["create"]
        create.add_argument("type", help="a job type: `manage.py jobtypes list`")
        create.add_argument("--input", default="null", metavar="JSON", help="the input; `-` reads it from stdin")
        create.add_argument("--queue")
        create.add_argument("--priority", type=int, help="0 to 10, 10 first")
        create.add_argument("--timeout-sec", type=int)
        create.add_argument("--max-attempts", type=int)
        create.add_argument("--callback-url")
        create.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="repeatable")
        create.add_argument("--idempotency-key", metavar="KEY", help="the same key never makes two jobs")

    def _list(self, limit: int, **options: Any) -> Answer:
        wanted = queries.JobFilter(**{name: options[name] for name in FILTERS})
        found = queries.job_page(wanted, principal=_operator(), limit=min(max(1, limit), 1000)).jobs
        text = job_table(found, self.paint) if found else "No such jobs."
        return Answer(text, {"jobs": [job_json(job) for job in found]})

    def _show(self, id: str, **_: Any) -> Answer:
        job = job_by_prefix(id)
        reasons, attempts, callbacks = explain(job), queries.attempts_of(job), queries.callbacks_of(job)
        facts = {
            "job": job_json(job, whole=True),
            "reasons": [reason.as_json() for reason in reasons],
            "attempts": [attempt_json(attempt) for attempt in attempts],
            "callbacks": [delivery_json(delivery) for delivery in callbacks],
        }
        return Answer(job_page(job, reasons, attempts, callbacks, self.paint), facts)

    def _tail(self, id: str, follow: bool, lines: int, json: bool, **_: Any) -> Answer:
        job = job_by_prefix(id)
        past = queries.log_tail(job, tail=lines) if lines > 0 else []
        if not follow:
            text = "\n".join([*(log_text(line, self.paint) for line in past), state_text(job, self.paint)])
            return Answer(text, {"job": job_json(job), "logs": [log_json(line) for line in past]})
        newest = queries.log_tail(job, tail=1)
        after = past[0].id - 1 if past else newest[0].id if newest else 0
        return self._follow(job, after, as_json=json)

    def _follow(self, job: Job, after: int, *, as_json: bool) -> Answer:
        """Print lines as they come. The answer is the final state; with --json the lines go only into that."""
        latest, logs = job, list[dict[str, Any]]()
        gone = False

        def tell(snapshot: Snapshot) -> None:
            nonlocal latest, gone
            for line in snapshot.lines:
                if as_json:
                    logs.append(log_json(line))
                else:
                    self.stdout.write(log_text(line, self.paint))
            if not as_json:
                self.stdout.flush()
            gone = snapshot.status is None

        def away(error: Exception) -> None:
            self.stderr.write(f"Postgres is away ({first_line(error)}); waiting for it. Ctrl-C stops.")

        follow(job.id, after=after, tell=tell, away=away)
        if gone:
            raise Problem(errors.NOT_FOUND, f"the job {job.id} was deleted")
        latest = Job.objects.get(pk=job.id)
        return Answer(state_text(latest, self.paint), {"job": job_json(latest), "logs": logs})

    def _cancel(self, ids: list[str], **_: Any) -> Answer:
        return self._each(ids, lifecycle.cancel, "cancelled")

    def _retry(self, ids: list[str], **_: Any) -> Answer:
        return self._each(ids, lifecycle.reopen, "queued again")

    def _each(self, ids: list[str], verb: Callable[..., Job], done: str) -> Answer:
        """Do `verb` to each job; one that cannot be does not stop the others."""
        lines, results, faults = [], [], list[Problem]()
        for text in ids:
            try:
                job = verb(job_by_prefix(text).id, by=command_actor())
            except Problem as problem:
                faults.append(problem)
                lines.append(f"{self.paint('✗', 'red')} {text}  {problem.message}")
                results.append({"id": text, **problem.as_envelope()})
            else:
                lines.append(f"{self.paint('✓', 'green')} {job.id}  {done}")
                results.append({"id": str(job.id), "ok": True, "job": job_json(job)})
        return Answer("\n".join(lines), {"results": results}, _summary(faults, len(ids), done))

    def _bulk(self, action: str, on: str | None, **options: Any) -> Answer:
        wanted = {name: options[name] for name in FILTERS if options[name] is not None}
        body = {"action": action, "filter": wanted, "queue": on}
        made = bulk.submit(body, principal=_operator()).job
        return Answer(f"{made.id}  on {made.queue}: `manage.py jobs tail -f {made.id}`", {"job": job_json(made)})

    def _create(
        self, type: str, input: str, tags: list[str] | None, idempotency_key: str | None, **rest: Any
    ) -> Answer:
        columns = ("queue", "priority", "timeout_sec", "max_attempts", "callback_url")
        body = {
            "type": type,
            "tags": tags or [],
            "input": json_argument(input),
            **{name: rest[name] for name in columns},
        }
        made = submit(parse_new_job(body), created_by=command_actor(), idempotency_key=idempotency_key)
        note = "  (it existed: this Idempotency-Key was used before)" if made.idempotent else ""
        return Answer(f"{made.job.id}{note}", {"job": job_json(made.job), "idempotent": made.idempotent})


def _operator() -> Principal:
    """Whoever has this shell has the database, and so every queue."""
    return Principal(name=command_actor(), role="admin", source="disabled")


def _summary(faults: list[Problem], asked: int, done: str) -> Problem | None:
    if not faults:
        return None
    if asked == 1:
        return faults[0]
    return Problem(faults[0].code, f"{len(faults)} of {count(asked, 'job')} not {done}: {faults[0].message}")
