"""The judge is judged: a lawful history passes, and each rule catches what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.chaos import invariants
from tests.chaos.checker import check
from tests.chaos.evidence import AttemptRow, DeliveryRow, Dependency, Evidence, JobRow, LogRow, Step, Transition

LOST, DONE, STOPPED, AFTER = "job-lost-once", "job-done", "job-cancelled", "job-after"


def lawful() -> Evidence:
    """A job that lost a worker, then succeeded, followed and called back; its dependant; one cancelled; a plain one."""
    return Evidence(
        history=[
            submit(1, LOST),
            submit(1, LOST, at=2),
            submit(2, AFTER),
            submit(3, STOPPED),
            {"what": "submit", "began": 1, "at": 2, "plan": 4, "key": None, "job": None, "code": None, "unique": ""},
            seen(LOST, "running", began=10, at=11),
            seen(LOST, "succeeded", began=30, at=31),
            seen(STOPPED, "cancelled", began=30, at=31),
            stream([1, 2, 3], ["queued", "running"]),
            stream([4, 5], ["running", "succeeded"], since=3, end="succeeded"),
            callback(0),
            callback(200),
        ],
        jobs=[
            job(LOST, plan=1, attempts=2, calls_back=True),
            job(AFTER, plan=2),
            job(STOPPED, plan=3, status="cancelled", attempts=0, result=None),
            job(DONE, plan=4),
        ],
        attempts=[
            AttemptRow(LOST, 1, "lost", 5, 10),
            AttemptRow(LOST, 2, "succeeded", 12, 20),
            AttemptRow(AFTER, 1, "succeeded", 21, 22),
            AttemptRow(DONE, 1, "succeeded", 3, 20),
        ],
        logs=[
            LogRow(LOST, 1, "Job created", 100),
            LogRow(LOST, 2, "Job claimed", 101),
            LogRow(LOST, 3, "Worker lost", 102),
            LogRow(LOST, 4, "Job claimed", 103),
            LogRow(LOST, 5, "Job succeeded", 104),
            LogRow(LOST, 6, "Callback delivered", 105),
            *(LogRow(AFTER, 10 + n, "line", 200 + n) for n in range(3)),
            *(LogRow(STOPPED, 20 + n, "line", 300 + n) for n in range(2)),
            *(LogRow(DONE, 30 + n, "line", 400 + n) for n in range(3)),
        ],
        transitions=[
            *moves(
                LOST, 100, (None, 0), ("queued", 0), ("running", 1), ("queued", 1), ("running", 2), ("succeeded", 2)
            ),
            *moves(AFTER, 200, (None, 0), ("queued", 0), ("running", 1), ("succeeded", 1)),
            *moves(STOPPED, 300, (None, 0), ("queued", 0), ("cancelled", 0)),
            *moves(DONE, 400, (None, 0), ("queued", 0), ("running", 1), ("succeeded", 1)),
        ],
        deliveries=[DeliveryRow(LOST, "delivered")],
        dependencies=[Dependency(AFTER, LOST)],
        ledger=[
            Step(LOST, 1, "start"), Step(LOST, 2, "start"), Step(LOST, 2, "end"),
            Step(AFTER, 1, "start"), Step(AFTER, 1, "end"), Step(DONE, 1, "start"), Step(DONE, 1, "end"),
        ],
        last_fault_at=15,
        bound_sec=10,
    )  # fmt: skip


def job(
    id_: str, *, plan: int, status: str = "succeeded", attempts: int = 1, calls_back: bool = False, **other: Any
) -> JobRow:
    result = other.get("result", attempts)
    return JobRow(id_, plan, status, attempts, 3, attempts, calls_back, result, other.get("error"), 20.0)


def moves(id_: str, xid: int, *states: tuple[str | None, int]) -> list[Transition]:
    return [
        Transition(id_, old[0], str(new[0]), new[1], xid + n, xid + n) for n, (old, new) in enumerate(pairwise(states))
    ]


def submit(plan: int, id_: str | None, *, at: float = 1, code: int = 201) -> dict[str, Any]:
    return {
        "what": "submit", "began": 0, "at": at, "plan": plan, "key": f"chaos-{plan}", "job": id_, "code": code,
        "unique": "",
    }  # fmt: skip


def seen(id_: str, status: str, *, began: float, at: float) -> dict[str, Any]:
    return {"what": "seen", "began": began, "at": at, "job": id_, "status": status, "by": "get", "code": 200}


def stream(ids: list[int], statuses: list[str], *, since: int = 0, end: str | None = None) -> dict[str, Any]:
    return {
        "what": "stream", "began": 0, "at": 1, "job": LOST, "wire": "sse",
        "since": since, "ids": ids, "statuses": statuses, "end": end,
    }  # fmt: skip


def callback(answer: int, *, status: str = "succeeded", signed: bool = True, id_: str = LOST) -> dict[str, Any]:
    return {
        "what": "callback", "began": 20, "at": 21, "job": id_, "status": status,
        "delivery": "1", "signed": signed, "answer": answer,
    }  # fmt: skip


def change(evidence: Evidence, id_: str, **columns: Any) -> None:
    """Give a job's row other columns."""
    evidence.jobs = [row._replace(**columns) if row.id == id_ else row for row in evidence.jobs]


def replace(evidence: Evidence, name: str, place: int, **columns: Any) -> None:
    """Give a row of any list other columns."""
    rows = getattr(evidence, name)
    rows[place] = rows[place]._replace(**columns)


def drop_attempt(evidence: Evidence, id_: str) -> None:
    """As if the job had never been claimed."""
    evidence.attempts = [attempt for attempt in evidence.attempts if attempt.job != id_]
    evidence.transitions = [step for step in evidence.transitions if (step.job, step.new) != (id_, "running")]
    change(evidence, id_, attempts=0)


Break = Callable[[Evidence], Any]


def failing(code: str | None) -> Break:
    return lambda evidence: change(evidence, DONE, status="failed", error_code=code)


# rule's beginning, what is broken, how
BROKEN: list[tuple[str, str, Break]] = [
    ("I1 no accepted", "an accepted job is not there", lambda e: e.history.append(submit(9, "job-gone"))),
    ("I1 no accepted", "a client does not find it", lambda e: e.history.append(seen(DONE, "absent", began=9, at=9))),
    ("I1 every request", "a lawful request is refused", lambda e: e.history.append(submit(9, None, code=400))),
    ("I2", "a transition without its line", lambda e: e.logs.pop(3)),
    ("I2", "a line in another transaction", lambda e: replace(e, "logs", 10, xid=999)),
    ("I2", "an unlawful step", lambda e: replace(e, "transitions", 5, old="queued")),
    ("I2", "a step from elsewhere", lambda e: replace(e, "transitions", 3, old="running")),
    ("I3", "two ends", lambda e: e.transitions.append(Transition(STOPPED, "queued", "failed", 0, 301))),
    ("I3", "another end than the row's", lambda e: change(e, DONE, status="failed")),
    ("I3", "back from the dead", lambda e: e.transitions.append(Transition(DONE, "succeeded", "queued", 1, 403))),
    ("I3", "a client saw another end", lambda e: e.history.append(seen(DONE, "failed", began=40, at=41))),
    ("I3", "a client saw it run again", lambda e: e.history.append(seen(LOST, "running", began=40, at=41))),
    ("I4 no attempt runs", "an attempt started twice", lambda e: e.ledger.append(Step(DONE, 1, "start"))),
    ("I4 no attempt runs", "an attempt nobody claimed", lambda e: e.ledger.append(Step(DONE, 2, "start"))),
    ("I4 between", "more than max_attempts", lambda e: change(e, LOST, max_attempts=1)),
    ("I4 between", "an attempt the job does not count", lambda e: change(e, LOST, attempts=1)),
    ("I4 between", "two attempts of one number", lambda e: e.attempts.insert(1, e.attempts[0])),
    ("I4 between", "succeeded without an attempt", lambda e: drop_attempt(e, DONE)),
    ("I4 between", "a claim that made no attempt", lambda e: replace(e, "transitions", 3, fence=1)),
    ("I4 a job fails", "it fails before its last attempt", failing("WORKER_LOST")),
    ("I4 a job fails", "it waited for nobody", failing("DEPENDENCY_BLOCKED")),
    ("I4 a job fails", "it fails for no reason", failing(None)),
    ("I4 no finish", "the result of the stale attempt", lambda e: change(e, LOST, result_attempt=1)),
    ("I4 no finish", "the stale attempt succeeded", lambda e: replace(e, "attempts", 0, outcome="succeeded")),
    ("I4 no finish", "the stale attempt ended late", lambda e: replace(e, "attempts", 0, ended_at=15.0)),
    ("I4 no finish", "an attempt runs on", lambda e: replace(e, "attempts", 3, ended_at=None)),
    ("I4 no finish", "succeeded before its end", lambda e: e.ledger.pop()),
    ("I5 every job", "a job is stuck", lambda e: change(e, DONE, status="queued")),
    ("I5 every job", "a job ended too late", lambda e: change(e, DONE, finished_at=26.0)),
    ("I5 every job", "a late job ended too late", lambda e: change(e, DONE, created_at=20.0, finished_at=31.0)),
    ("I5 no process", "a process lives on", lambda e: e.survivors.append("sleep 86400")),
    ("I6", "a line is left out", lambda e: e.history[8]["ids"].remove(2)),
    ("I6", "a line comes twice", lambda e: e.history[9]["ids"].insert(0, 3)),
    ("I6", "a line comes late", lambda e: e.history[8]["ids"].reverse()),
    ("I6", "a line nobody wrote", lambda e: e.logs.remove(e.logs[1])),
    ("I6", "the end came before its line", lambda e: e.history[9]["ids"].remove(5)),
    ("I6", "the end never came", lambda e: e.history[9].update(end=None)),
    ("I6", "another end", lambda e: e.history[9].update(end="failed")),
    ("I6", "it ran on after its end", lambda e: e.history[9].update(statuses=["succeeded", "running"])),
    ("I7", "one key, two ids", lambda e: e.history.append(submit(1, DONE))),
    ("I7", "one key, two rows", lambda e: change(e, DONE, plan=1)),
    ("a dependant", "it ran too early", lambda e: replace(e, "attempts", 2, started_at=19.0)),
    ("a dependant", "it ran in vain", lambda e: change(e, LOST, status="failed")),
    ("a callback", "it never came", lambda e: e.history.pop()),
    ("a callback", "the outbox forgot it", lambda e: e.deliveries.clear()),
    ("a callback", "it told of no end", lambda e: e.history.append(callback(200, status="running"))),
    ("a callback", "it was not signed", lambda e: e.history.append(callback(200, signed=False))),
    ("a callback", "nobody asked for it", lambda e: e.history.append(callback(200, id_=DONE))),
]  # fmt: skip


def test_a_lawful_history_has_no_findings() -> None:
    assert check(lawful()) == []


@pytest.mark.parametrize(
    ("rule", "broken"), [(rule, how) for rule, _, how in BROKEN], ids=[what for _, what, _ in BROKEN]
)
def test_a_broken_history_is_caught(rule: str, broken: Break) -> None:
    evidence = lawful()

    broken(evidence)

    assert any(finding.rule.startswith(rule) for finding in check(evidence)), check(evidence)


def test_each_rule_has_a_history_that_breaks_it() -> None:
    assert all(any(name.startswith(rule) for rule, _, _ in BROKEN) for name in invariants.BOOK)
