"""The rules of flow control are judged: a lawful history passes, and each rule catches what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import flow_rules
from tests.chaos.evidence import AttemptRow, Evidence, JobRow, Pause, Transition
from tests.chaos.kinds import WORK
from tests.chaos.rules import Finding
from tests.chaos.test_checker import Break, change, replace, submit


def lawful() -> Evidence:
    """Jobs at each limit, one after another; replaced, dropped, debounced, expired and held up by a pause."""
    evidence = Evidence([], [], [], [], [], [], [], [])
    add = adder(evidence)
    for number in range(3):
        add(f"few-{number}", type="chaos.few", made=number, ran=(10 + number // 2 * 10, 20 + number // 2 * 10))
        add(f"keyed-{number}", type="chaos.keyed", key="a", made=number, ran=(number, number + 1))
        add(f"narrow-{number}", queue="narrow", made=number, ran=(10 + number // 2 * 10, 20 + number // 2 * 10))
        add(f"paced-{number}", type="chaos.paced", key="a", made=0, ran=(number * 2.6, number * 2.6 + 1))
    add("old", type="chaos.newest", key="a", made=0, ran=(1, 10), status="cancelled", error="REPLACED", ended_by=100)
    add("new", type="chaos.newest", key="a", made=10, ran=(11, 20), by=100)
    add("first-1", type="chaos.first", key="a", made=0, ran=(1, 30))
    add("first-2", type="chaos.first", key="a", made=1, ran=(1, 30))
    add(
        "first-3",
        type="chaos.first",
        key="a",
        made=9,
        status="cancelled",
        error="DROPPED",
        ended=9,
        by=101,
        ended_by=101,
    )
    add("keep-1", unique="keep-0", made=0, ran=(0, 1))
    add("keep-2", unique="keep-0", made=3, ran=(3, 4))
    add("replace-1", unique="replace-0", made=0, status="cancelled", error="REPLACED", ended=1, ended_by=102)
    add("replace-2", unique="replace-0", made=1, ran=(6, 8), by=102)
    add("in-time", type="chaos.single", made=0, ran=(1, 2), expires=4.0)
    add("late", type="chaos.single", made=0, status="failed", error="JOB_EXPIRED", ended=5, expires=4.0)
    add("before", type="chaos.parent", made=0, ran=(39, 50))
    add("after", type="chaos.parent", made=0, ran=(51, 52))
    evidence.pauses = [Pause("job-types", "chaos.parent", 39.5, 40, 50)]
    evidence.history = [asked(1, "keep-1", at=0), asked(2, "keep-1", at=2), asked(3, "keep-2", at=3)]
    return evidence


def adder(evidence: Evidence) -> Callable[..., None]:
    def add(
        id_: str,
        *,
        made: float,
        ran: tuple[float, float] | None = None,
        ended: float | None = None,
        status: str = "succeeded",
        by: int | None = None,
        ended_by: int = -1,
        **columns: Any,
    ) -> None:
        """A job. by, ended_by: the transactions that made and ended it, where that matters."""
        end = ran[1] if ran else ended
        evidence.jobs.append(
            JobRow(
                id_, len(evidence.jobs), status, 1, 3, 1, False, 1, columns.get("error"), end,
                type=columns.get("type", WORK), queue=columns.get("queue", "default"), key=columns.get("key", ""),
                unique_key=columns.get("unique", ""), created_at=made, expires_at=columns.get("expires"),
            )
        )  # fmt: skip
        top = len(evidence.transitions) + 1000 if by is None else by
        evidence.transitions.append(Transition(id_, None, "queued", 0, top, top, made))
        evidence.transitions.append(Transition(id_, "queued", status, 1, ended_by, ended_by, end or 0))
        if ran:
            evidence.attempts.append(AttemptRow(id_, 1, status, *ran))

    return add


def asked(plan: int, id_: str, *, at: float, unique: str = "keep-0") -> dict[str, Any]:
    return submit(plan, id_, at=at) | {"began": at, "unique": unique}


def judged(evidence: Evidence) -> list[Finding]:
    return [Finding(name, *wrong) for name, rule in flow_rules.BOOK.items() for wrong in rule.judge(evidence)]


def runs(evidence: Evidence, id_: str, started_at: float, ended_at: float | None = None) -> None:
    """Let a job's attempt run at another time; without an end it runs for ever."""
    place = next(place for place, attempt in enumerate(evidence.attempts) if attempt.job == id_)
    replace(evidence, "attempts", place, started_at=started_at, ended_at=ended_at)


def made(evidence: Evidence, id_: str, **columns: Any) -> None:
    """Let a job have been made otherwise."""
    steps = evidence.transitions
    place = next(place for place, step in enumerate(steps) if step.job == id_ and step.old is None)
    replace(evidence, "transitions", place, **columns)


def ended(evidence: Evidence, id_: str, **columns: Any) -> None:
    """Let a job have ended otherwise."""
    steps = evidence.transitions
    place = next(place for place, step in enumerate(steps) if step.job == id_ and step.old is not None)
    replace(evidence, "transitions", place, **columns)


QUEUE_PAUSE = Pause("queues", "narrow", 17.5, 18, 25)

BROKEN: list[tuple[str, str, Break]] = [
    ("never more attempts at once", "a type over its limit", lambda e: runs(e, "few-2", 19.9, 21)),
    ("never more attempts at once", "a lost attempt that never ended", lambda e: runs(e, "keyed-0", 0)),
    ("never more attempts at once", "a key over its limit", lambda e: runs(e, "keyed-1", 0.5, 2)),
    ("never more attempts at once", "a queue over its limit", lambda e: runs(e, "narrow-2", 19.9, 21)),
    ("never more attempts begin", "three in a period for two", lambda e: runs(e, "paced-2", 4.9, 5)),
    ("a full key", "the older one stays open", lambda e: ended(e, "old", at=19, top=997)),
    ("a full key", "one more stays open than may", lambda e: ended(e, "first-3", at=29, top=996)),
    ("a full key", "one is dropped beside too few", lambda e: ended(e, "first-2", at=3)),
    ("a full key", "one is dropped later on", lambda e: ended(e, "first-3", top=999)),
    ("a full key", "one is dropped where the newest wins", lambda e: change(e, "old", error_code="DROPPED")),
    ("a job is replaced", "nobody replaced it", lambda e: made(e, "new", top=998)),
    ("a job is replaced", "a job of another key replaced it", lambda e: change(e, "new", key="b")),
    ("a job is replaced", "its own unique key did not", lambda e: change(e, "replace-2", unique_key="replace-1")),
    ("a job is replaced", "the older one replaced it", lambda e: change(e, "new", error_code="REPLACED")),
    ("of the requests", "two are made in the window", lambda e: made(e, "keep-2", at=2.9)),
    ("of the requests", "one is given another key's job", lambda e: e.history.append(asked(4, "replace-2", at=3))),
    ("of the requests", "one is given an old job", lambda e: e.history.append(asked(4, "keep-1", at=9))),
    ("of the jobs that `replace`", "the replaced one runs", lambda e: change(e, "replace-1", status="succeeded")),
    ("of the jobs that `replace`", "the last runs at once", lambda e: runs(e, "replace-2", 5.9, 8)),
    ("nothing begins after its", "it begins late", lambda e: runs(e, "in-time", 5.5, 6)),
    ("nothing begins after its", "it begins, and expires", lambda e: change(e, "in-time", error_code="JOB_EXPIRED")),
    ("nothing begins after its", "it expires early", lambda e: change(e, "late", finished_at=3.9)),
    ("nothing begins after its", "it has no time to expire", lambda e: change(e, "late", expires_at=None)),
    ("nothing begins during", "it begins in the pause of its type", lambda e: runs(e, "after", 49, 52)),
    ("nothing begins during", "it begins in the pause of its queue", lambda e: e.pauses.append(QUEUE_PAUSE)),
]  # fmt: skip


def test_a_lawful_history_has_no_findings() -> None:
    assert judged(lawful()) == []


@pytest.mark.parametrize(
    ("rule", "broken"), [(rule, how) for rule, _, how in BROKEN], ids=[what for _, what, _ in BROKEN]
)
def test_a_broken_history_is_caught(rule: str, broken: Break) -> None:
    evidence = lawful()

    broken(evidence)

    assert any(finding.rule.startswith(f"flow: {rule}") for finding in judged(evidence)), judged(evidence)


def test_each_rule_has_a_history_that_breaks_it() -> None:
    assert all(any(name.startswith(f"flow: {rule}") for rule, _, _ in BROKEN) for name in flow_rules.BOOK)


def test_a_job_stands_beside_others_from_its_commit_on() -> None:
    evidence = lawful()
    ended(evidence, "old", at=19, top=997)
    change(evidence, "old", error_code=None)
    made(evidence, "new", committed_at=18.5)

    assert judged(evidence) == []


def test_a_job_made_in_the_instant_of_a_pause_may_slip_through() -> None:
    evidence = lawful()
    runs(evidence, "after", 40.5, 52)
    made(evidence, "after", at=39.9)

    assert judged(evidence) == []
