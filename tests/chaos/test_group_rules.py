"""The rules of job groups are judged: a lawful history passes, and each rule catches what it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos import group_rules
from tests.chaos.evidence import AttemptRow, Evidence, GroupRow, JobRow
from tests.chaos.rules import Finding
from tests.chaos.test_checker import Break, change, replace

LOST, FAILED, STOPPED = "parent-lost-once", "parent-child-failed", "parent-cancelled"


def lawful() -> Evidence:
    """A parent of two phases that collects, and lost a worker; one whose child failed it; one that was cancelled."""
    evidence = Evidence([], [], [], [], [], [], [], [])
    first, second = child("a0", "g1", 0, ended=10), child("a1", "g1", 1, ended=11, status="failed")
    third = child("b0", "g2", 0, ended=20)
    came = [[["0", "a0", "succeeded", 1], ["1", "a1", "failed", None]], [["0", "b0", "succeeded", 1]]]
    evidence.jobs = [
        parent(LOST, phases=2, fence=4, came=came, ended=25),
        first, second, third,
        parent(FAILED, phases=1, fence=1, status="failed", error="CHILD_FAILED", ended=30),
        child("c0", "g3", 0, ended=29, status="cancelled"), child("c1", "g3", 1, ended=31, status="cancelled"),
        parent(STOPPED, phases=2, fence=1, status="cancelled", ended=30),
        child("d0", "g4", 0, ended=31, status="cancelled"),
    ]  # fmt: skip
    evidence.groups = [
        GroupRow("g1", LOST, 1, "collect", 2),
        GroupRow("g2", LOST, 2, "collect", 1),
        GroupRow("g3", FAILED, 1, "fail", 2),
        GroupRow("g4", STOPPED, 1, "fail", 1),
    ]
    evidence.attempts = [
        AttemptRow(LOST, 1, "suspended", 1, 2),
        AttemptRow(LOST, 2, "lost", 12, 14),
        AttemptRow(LOST, 3, "suspended", 15, 16),
        AttemptRow(LOST, 4, "succeeded", 21, 25),
        AttemptRow(FAILED, 1, "suspended", 1, 2),
        AttemptRow(STOPPED, 1, "suspended", 1, 2),
    ]
    return evidence


def parent(
    id_: str, *, phases: int, fence: int, ended: float, status: str = "succeeded", came: Any = None, error: Any = None
) -> JobRow:
    return JobRow(id_, 1, status, 2, 9, fence, False, 2, error, ended, type="chaos.parent", phases=phases, came=came)


def child(id_: str, group: str, number: int, *, ended: float, status: str = "succeeded") -> JobRow:
    attempt = 1 if status == "succeeded" else None
    return JobRow(id_, None, status, 1, 9, 1, False, attempt, None, ended, group=group, child_name=str(number))


def all_succeed(evidence: Evidence, group: str) -> None:
    evidence.jobs = [row._replace(status="succeeded") if row.group == group else row for row in evidence.jobs]


def judged(evidence: Evidence) -> list[Finding]:
    return [Finding(name, *wrong) for name, rule in group_rules.BOOK.items() for wrong in rule.judge(evidence)]


BROKEN: list[tuple[str, str, Break]] = [
    ("each phase's", "a child is missing", lambda e: e.jobs.pop(2)),
    ("each phase's", "a child was made twice", lambda e: e.jobs.append(child("a2", "g1", 1, ended=9))),
    ("each phase's", "a phase was made twice", lambda e: e.groups.insert(1, GroupRow("g9", LOST, 1, "collect", 0))),
    ("each phase's", "a stale attempt made children", lambda e: replace(e, "attempts", 0, outcome="lost")),
    ("a parent's result", "a child succeeded after all", lambda e: change(e, "a1", status="succeeded")),
    ("a parent's result", "another attempt's result", lambda e: change(e, "b0", result_attempt=2)),
    ("a parent's result", "a child is left out", lambda e: e.job[LOST].came[0].pop()),  # type: ignore[index]
    ("a parent's result", "a phase is left out", lambda e: change(e, LOST, phases=3)),
    ("no child", "one ended after its parent succeeded", lambda e: change(e, "b0", finished_at=26.0)),
    ("no child", "one ran on after its parent failed", lambda e: change(e, "c1", finished_at=99.0)),
    ("no child", "one is open", lambda e: change(e, "d0", status="running", finished_at=None)),
    ("a parent goes on", "it went on too early", lambda e: change(e, "a0", finished_at=13.0)),
    ("a parent goes on", "it went on without a child it needs", lambda e: replace(e, "groups", 0, on_failure="fail")),
    ("a parent goes on", "it failed for one it collects", lambda e: replace(e, "groups", 2, on_failure="collect")),
    ("a parent goes on", "it failed for no child", lambda e: all_succeed(e, "g3")),
    ("a parent goes on", "it waits for ever", lambda e: change(e, STOPPED, status="queued")),
    ("a parent goes on", "it failed for earlier children", lambda e: change(e, LOST, error_code="CHILD_FAILED")),
]  # fmt: skip


def test_a_lawful_history_has_no_findings() -> None:
    assert judged(lawful()) == []


@pytest.mark.parametrize(
    ("rule", "broken"), [(rule, how) for rule, _, how in BROKEN], ids=[what for _, what, _ in BROKEN]
)
def test_a_broken_history_is_caught(rule: str, broken: Break) -> None:
    evidence = lawful()

    broken(evidence)

    assert any(finding.rule.startswith(f"groups: {rule}") for finding in judged(evidence)), judged(evidence)


def test_each_rule_has_a_history_that_breaks_it() -> None:
    assert all(any(name.startswith(f"groups: {rule}") for rule, _, _ in BROKEN) for name in group_rules.BOOK)
