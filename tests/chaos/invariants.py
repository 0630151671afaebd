"""The rules that stand for the invariants of DESIGN.md and are named after them; and dependencies and callbacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from tests.chaos.evidence import Evidence, JobRow, by_job
from tests.chaos.history import Event
from tests.chaos.rules import TERMINAL, RuleBook, Wrong

STEPS = {
    (None, "queued"), ("queued", "running"), ("queued", "failed"), ("queued", "cancelled"),
    ("running", "queued"), ("running", "succeeded"), ("running", "failed"), ("running", "cancelled"),
}  # fmt: skip
"""The state machine as docs/architecture.md draws it, without an operator's retry: nobody retries in a run."""


BOOK = RuleBook()


@BOOK.rule("I1 no accepted job is lost", "jobs", lambda e: len(e.accepted))
def _none_lost(evidence: Evidence) -> Wrong:
    for job in sorted(evidence.accepted - set(evidence.job)):
        yield job, "a client was given this id, and there is no such row"
    for event in evidence.events("seen"):
        if event["status"] == "absent":
            yield event["job"], f"a client was told that it is not there ({event['by']}, {event['code']})"


@BOOK.rule("I1 every request is answered or may be repeated", "requests", lambda e: len(e.events("submit")))
def _none_refused(evidence: Evidence) -> Wrong:
    for event in evidence.events("submit"):
        if event["code"] is not None and 300 <= event["code"] < 500:
            yield f"plan {event['plan']}", f"a lawful submission was answered {event['code']}"


@BOOK.rule(
    "I2 a status changes with a log line in the same transaction, and only as the state machine allows",
    "changes",
    lambda e: len(e.transitions),
)
def _lawful_transitions(evidence: Evidence) -> Wrong:
    lines = {(line.job, line.xid) for line in evidence.logs}
    for job, steps in by_job(evidence.transitions).items():
        for step in steps:
            if (step.old, step.new) not in STEPS:
                yield job, f"{step.old} → {step.new}"
            if (job, step.xid) not in lines:
                yield job, f"{step.old} → {step.new} without a log line in transaction {step.xid}"
        for before, after in pairwise(steps):
            if after.old != before.new:
                yield job, f"was {before.new}, then left {after.old}"


@BOOK.rule("I3 exactly one terminal state a job, and nothing after it", "jobs", lambda e: len(e.jobs))
def _one_end(evidence: Evidence) -> Wrong:
    transitions = by_job(evidence.transitions)
    for job in evidence.jobs:
        ends = [step.new for step in transitions[job.id] if step.new in TERMINAL]
        if job.status in TERMINAL and ends != [job.status]:
            yield job.id, f"is {job.status}; its ends were {ends}"
        if any(step.old in TERMINAL for step in transitions[job.id]):
            yield job.id, "left a terminal state"
    yield from _seen_ends(evidence)


def _seen_ends(evidence: Evidence) -> Wrong:
    """Whatever a client was told last, it is told for ever: also by the other web process, a moment later."""
    ended_at: dict[str, float] = {}
    for event in sorted(evidence.events("seen"), key=lambda seen: float(seen["at"])):
        job, status = event["job"], event["status"]
        if status in TERMINAL:
            ended_at.setdefault(job, event["at"])
            if job in evidence.job and evidence.job[job].status != status:
                yield job, f"was seen {status}, and is {evidence.job[job].status}"
        elif event["began"] > ended_at.get(job, float("inf")):
            yield job, f"was seen {status} after it had been seen to have ended"


@BOOK.rule("I4 no attempt runs twice, and none runs that was not claimed", "attempts", lambda e: len(e.attempts))
def _attempts_run_once(evidence: Evidence) -> Wrong:
    claimed = {(attempt.job, attempt.number) for attempt in evidence.attempts}
    for (job, attempt, step), times in Counter(evidence.ledger).items():
        if times > 1:
            yield job, f"attempt {attempt} did its {step} {times} times"
        if (job, attempt) not in claimed:
            yield job, f"attempt {attempt} ran, and nobody claimed it"


@BOOK.rule("I4 between one attempt and max_attempts", "jobs", lambda e: len(e.jobs))
def _attempts_bounded(evidence: Evidence) -> Wrong:
    attempts, transitions = by_job(evidence.attempts), by_job(evidence.transitions)
    for job in evidence.jobs:
        numbers = [attempt.number for attempt in attempts[job.id]]
        counted = sum(attempt.outcome not in {"suspended", "unbegun"} for attempt in attempts[job.id])
        if counted > job.max_attempts:
            yield job.id, f"{counted} attempts of at most {job.max_attempts}"
        if counted != job.attempts or numbers != list(range(1, job.fence + 1)):
            yield job.id, f"attempts {numbers}, {counted} of them count; the job counts {job.attempts} of {job.fence}"
        claims = [step.fence for step in transitions[job.id] if step.new == "running"]
        if claims != numbers:
            yield job.id, f"claimed with the fences {claims}, attempts {numbers}"
        may_have_none = job.status == "cancelled" or job.error_code in {"DEPENDENCY_BLOCKED", "JOB_EXPIRED"}
        if job.status in TERMINAL and not numbers and not may_have_none:
            yield job.id, f"{job.status} without an attempt"


@BOOK.rule(
    "I4 a job fails for a reason that it has, and not before its last attempt",
    "failed jobs",
    lambda e: sum(job.status == "failed" for job in e.jobs),
)
def _failures_are_due(evidence: Evidence) -> Wrong:
    dependants = {dependency.job for dependency in evidence.dependencies}
    for job in evidence.jobs:
        reasons = {
            "DEPENDENCY_BLOCKED": job.id in dependants,
            "JOB_EXPIRED": job.expires_at is not None,
            "CHILD_FAILED": job.phases is not None,
            **dict.fromkeys(("UPSTREAM_ERROR", "JOB_TIMEOUT", "WORKER_LOST"), job.attempts == job.max_attempts),
        }
        if job.status == "failed" and not reasons.get(job.error_code or "", False):
            yield job.id, f"failed with {job.error_code} after {job.attempts} of {job.max_attempts} attempts"


@BOOK.rule("I4 no finish of a stale attempt is accepted", "attempts", lambda e: len(e.attempts))
def _no_stale_finish(evidence: Evidence) -> Wrong:
    attempts = by_job(evidence.attempts)
    ended = {(step.job, step.attempt) for step in evidence.ledger if step.step == "end"}
    for job in evidence.jobs:
        for before, after in pairwise(attempts[job.id]):
            if before.ended_at is None or before.ended_at > after.started_at:
                yield job.id, f"attempt {after.number} began before attempt {before.number} had ended"
            if before.outcome in {"succeeded", "cancelled"}:
                yield job.id, f"attempt {before.number} {before.outcome}, and another followed"
        if job.status in TERMINAL and any(attempt.ended_at is None for attempt in attempts[job.id]):
            yield job.id, f"{job.status}, and an attempt still runs"
        if job.status == "succeeded":
            last = [attempt.outcome for attempt in attempts[job.id][-1:]]
            # A handler knows its attempt as the job counts it: those that waited for children do not count.
            if job.result_attempt != job.attempts or last not in ([], ["succeeded"]):
                yield job.id, f"holds the result of attempt {job.result_attempt}; the last was {job.attempts}"
            if (job.id, job.attempts) not in ended:
                yield job.id, f"succeeded, and attempt {job.attempts} never came to its end"


@BOOK.rule("I5 every job ends, within the bound after the last fault", "jobs", lambda e: len(e.jobs))
def _all_end(evidence: Evidence) -> Wrong:
    for job in evidence.jobs:
        # On a slow machine clients go on submitting long after the last fault.
        since = max(evidence.last_fault_at, job.created_at)
        if job.status not in TERMINAL:
            yield job.id, f"still {job.status}"
        elif job.finished_at is not None and job.finished_at > since + evidence.bound_sec:
            yield job.id, f"ended {job.finished_at - since:.0f} s after the last fault, or after it was made"


@BOOK.rule("I5 no process outlives its job", "jobs", lambda e: len(e.jobs))
def _none_survives(evidence: Evidence) -> Wrong:
    for command in evidence.survivors:
        yield command, "still runs although every job has ended"


@BOOK.rule(
    "I6 a stream shows each line once and in order, across reconnects",
    "lines shown",
    lambda e: sum(len(event["ids"]) for event in e.events("stream")),
)
def _streams(evidence: Evidence) -> Wrong:
    lines, transitions = by_job(evidence.logs), by_job(evidence.transitions)
    readers: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in evidence.events("stream"):
        readers[event["job"], event["wire"]].append(event)
    for (job, wire), connections in readers.items():
        seen = [line for connection in connections for line in connection["ids"]]
        if any(after <= before for before, after in pairwise(seen)):
            yield job, f"{wire} went back, or showed a line twice"
        written = [line.id for line in lines[job] if line.id <= max(seen, default=0)]
        if sorted(set(seen)) != written:
            left_out, made_up = sorted(set(written) - set(seen)), sorted(set(seen) - set(written))
            yield job, f"{wire} left out {left_out}, made up {made_up}"
        last = [line.id for line in lines[job] if transitions[job] and line.xid == transitions[job][-1].xid]
        if not set(last) <= set(seen):
            yield job, f"{wire} did not show the line of the job's end"
        yield from _stream_states(evidence.job[job], wire, connections)


def _stream_states(job: JobRow, wire: str, connections: list[Event]) -> Wrong:
    ends = [connection["end"] for connection in connections if connection["end"]]
    if ends != [job.status]:
        yield job.id, f"{wire} said that the job ended {ends}; it is {job.status}"
    statuses = [status for connection in connections for status in connection["statuses"]]
    first_end = next((place for place, status in enumerate(statuses) if status in TERMINAL), len(statuses))
    if set(statuses[first_end:]) - {job.status}:
        yield job.id, f"{wire} showed {statuses}"


@BOOK.rule(
    "I7 one Idempotency-Key makes one job; one request makes at most one", "requests", lambda e: len(e.events("submit"))
)
def _one_job_a_key(evidence: Evidence) -> Wrong:
    told: dict[int, set[str]] = defaultdict(set)
    for event in evidence.events("submit"):
        if event["job"]:
            told[event["plan"]].add(event["job"])
    made: dict[int, set[str]] = defaultdict(set)
    for job in evidence.jobs:
        if job.plan is not None:
            made[job.plan].add(job.id)
    for plan in sorted(told.keys() | made.keys()):
        if len(told[plan]) > 1:
            yield f"plan {plan}", f"clients were told {len(told[plan])} ids"
        if len(made[plan]) > 1:
            yield f"plan {plan}", f"{len(made[plan])} jobs were made"


@BOOK.rule("a dependant starts after all it depends on have succeeded", "dependencies", lambda e: len(e.dependencies))
def _dependencies(evidence: Evidence) -> Wrong:
    first = {attempt.job: attempt.started_at for attempt in evidence.attempts if attempt.number == 1}
    for job, on in evidence.dependencies:
        needed = evidence.job[on]
        if job in first and (needed.status != "succeeded" or (needed.finished_at or 0) > first[job]):
            yield job, f"ran although {on} had not succeeded"
        if needed.status in {"failed", "cancelled"} and evidence.job[job].status not in {"failed", "cancelled"}:
            yield job, f"is {evidence.job[job].status} although {on} {needed.status}"


@BOOK.rule(
    "a callback comes at least once, signed, and for the terminal state alone",
    "callbacks",
    lambda e: len(e.events("callback")),
)
def _callbacks(evidence: Evidence) -> Wrong:
    taken = set()
    for event in evidence.events("callback"):
        row = evidence.job.get(event["job"])
        if row is None or not row.calls_back:
            yield event["job"], "called back, and nobody asked for it"
        elif event["status"] != row.status:
            yield row.id, f"called back as {event['status']}; it is {row.status}"
        if not event["signed"]:
            yield event["job"], "called back with a bad signature"
        if event["answer"] == 200:
            taken.add(event["job"])
    deliveries = by_job(evidence.deliveries)
    for job in evidence.jobs:
        if job.calls_back and job.status in TERMINAL:
            if job.id not in taken:
                yield job.id, "never called back"
            if [delivery.state for delivery in deliveries[job.id]] != ["delivered"]:
                yield job.id, f"outbox: {[delivery.state for delivery in deliveries[job.id]]}"
