"""`manage.py schedules`: look at schedules, preview, create, pause, resume and run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser

from access.principals import Principal
from jobs.representation import job_json
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor, json_argument
from schedules import cadence, dispatch, planning, queries, requests
from schedules.lookup import schedule_by_words
from schedules.models import Missed, Overlap, Schedule
from schedules.queries import ScheduleFilter
from schedules.representation import due_json, flow_json, policy_json, run_json, schedule_json
from schedules.text import due_table, schedule_page, schedule_table

WORDS_HELP = "its name, or at least the first 4 characters of its id"
POLICIES = ("time_zone", "ends_at", "jitter_sec", "missed", "overlap", "max_runs", "pause_after_failures")


class Command(OperatorCommand):
    """The operator's way to the verbs of `schedules.planning`, past every queue allowlist."""

    help = "List, show, preview, create, pause, resume, run and delete schedules."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "the schedules, newest first",
                "show": "everything about one schedule, and its newest runs",
                "preview": "the next due times of a cron expression, an interval or a schedule",
                "create": "create a schedule",
                "pause": "let schedules make no jobs; those that they made go on",
                "resume": "let schedules make jobs again",
                "run": "make a job of a schedule now; its next time stays",
                "delete": "delete a schedule and its runs; its jobs stay",
            },
        )
        verbs["list"].add_argument("--queue")
        verbs["list"].add_argument("--type")
        verbs["list"].add_argument("--limit", type=int, default=50, help="how many; default 50, at most 1000")
        for name in ("show", "run", "delete"):
            verbs[name].add_argument("schedule", help=WORDS_HELP)
        for name in ("pause", "resume"):
            verbs[name].add_argument("schedules", nargs="+", metavar="SCHEDULE", help=WORDS_HELP)
        for name in ("preview", "create"):
            cadence = verbs[name].add_mutually_exclusive_group(required=True)
            cadence.add_argument("--cron", metavar="EXPRESSION", help="5 fields, or 6 with the second first; @daily")
            cadence.add_argument("--interval-sec", type=int, metavar="SECONDS", help="5 to 86400")
            if name == "preview":
                cadence.add_argument("--schedule", metavar="SCHEDULE", help=WORDS_HELP)
            verbs[name].add_argument("--time-zone", metavar="NAME", help="IANA, e.g. Europe/Helsinki")
            verbs[name].add_argument("--ends-at", metavar="MOMENT", help="ISO 8601; no due time after it")
            verbs[name].add_argument("--start-in-sec", type=int, metavar="SECONDS")
        create = verbs["create"]
        create.add_argument("type", help="a job type: `manage.py jobtypes list`")
        create.add_argument("--name")
        create.add_argument("--input", default="null", metavar="JSON", help="the jobs' input; `-` reads it from stdin")
        create.add_argument("--queue")
        create.add_argument("--priority", type=int, help="0 to 10, 10 first")
        create.add_argument("--timeout-sec", type=int)
        create.add_argument("--max-attempts", type=int)
        create.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="repeatable")
        create.add_argument("--jitter-sec", type=int, help="each run is up to so many seconds late, at random")
        create.add_argument("--missed", choices=Missed.values)
        create.add_argument("--overlap", choices=Overlap.values)
        create.add_argument("--max-runs", type=int)
        create.add_argument("--pause-after-failures", type=int)

    def _list(self, queue: str | None, type: str | None, limit: int, **_: Any) -> Answer:
        page = queries.schedule_page(
            ScheduleFilter(queue=queue, type=type), principal=_operator(), limit=min(max(1, limit), 1000)
        )
        found = page.schedules
        text = schedule_table(found, self.paint, queries.postgres_now()) if found else "No such schedules."
        return Answer(text, {"schedules": [_facts(schedule) for schedule in found]})

    def _show(self, schedule: str, **_: Any) -> Answer:
        return self._shown(schedule_by_words(schedule))

    def _shown(self, schedule: Schedule) -> Answer:
        runs, _ = queries.runs_of(schedule, limit=10)
        facts = {"schedule": _facts(schedule), "runs": [run_json(run) for run in runs]}
        return Answer(schedule_page(schedule, runs, self.paint), facts)

    def _preview(self, schedule: str | None, **options: Any) -> Answer:
        if schedule is not None:
            found = schedule_by_words(schedule)
            planned, moments = found.cadence, planning.due_times(found)
        else:
            planned, moments = planning.preview(requests.parse_preview(_body(options)))
        due = due_json(moments, cadence.zone(planned.zone))
        return Answer(due_table(due, self.paint) if due else "Never again.", {"due": due})

    def _create(self, type: str, input: str, tags: list[str] | None, **options: Any) -> Answer:
        columns = ("name", "queue", "priority", "timeout_sec", "max_attempts")
        own = {name: options[name] for name in columns if options[name] is not None}
        body = {"type": type, "tags": tags or [], "input": json_argument(input), **own, **_body(options)}
        new, flow = requests.parse_new(body)
        return self._shown(planning.create(new, flow, principal=_operator(), by=command_actor()))

    def _pause(self, schedules: list[str], **_: Any) -> Answer:
        return self._each(schedules, planning.pause)

    def _resume(self, schedules: list[str], **_: Any) -> Answer:
        return self._each(schedules, planning.resume)

    def _each(self, words: list[str], verb: Callable[..., Schedule]) -> Answer:
        found = [schedule_by_words(text) for text in words]  # all of them exist, or none is changed
        changed = [verb(str(schedule.id), principal=_operator(), by=command_actor()) for schedule in found]
        text = schedule_table(changed, self.paint, queries.postgres_now())
        return Answer(text, {"schedules": [_facts(schedule) for schedule in changed]})

    def _run(self, schedule: str, **_: Any) -> Answer:
        found = schedule_by_words(schedule)
        job = dispatch.run_now(str(found.id), principal=_operator(), by=command_actor())
        return Answer(f"{job.id}: `manage.py jobs tail -f {job.id}`", {"job": job_json(job)})

    def _delete(self, schedule: str, **_: Any) -> Answer:
        deleted = planning.delete(str(schedule_by_words(schedule).id), principal=_operator(), by=command_actor())
        return Answer(f"{deleted}  deleted; its jobs are there still", {"id": str(deleted), "deleted": True})


def _body(options: dict[str, Any]) -> dict[str, Any]:
    """What was given of a schedule's cadence and policy, as the API's body has it."""
    given = {name: options[name] for name in ("cron", "interval_sec", "start_in_sec") if options[name] is not None}
    policy = {name: options[name] for name in POLICIES if options.get(name) is not None}
    return given | ({"policy": policy} if policy else {})


def _facts(schedule: Schedule) -> dict[str, Any]:
    return {**schedule_json(schedule), "policy": policy_json(schedule), "flow": flow_json(schedule)}


def _operator() -> Principal:
    """Whoever has this shell has the database, and so every queue."""
    return Principal(name=command_actor(), role="admin", source="disabled")
