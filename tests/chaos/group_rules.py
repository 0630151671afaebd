"""The rules of jobs that make jobs and wait for them. docs/adr/0013-job-groups.md."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence, GroupRow, JobRow, by_job
from tests.chaos.rules import RuleBook, Wrong

ORPHAN_SEC = 30.0
"""A child ends so soon after a parent that did not wait for it, also when the reconciler is down at that moment."""

BOOK = RuleBook()


def _parents(evidence: Evidence) -> list[JobRow]:
    return [job for job in evidence.jobs if job.phases is not None]


def _children(evidence: Evidence) -> dict[str, list[JobRow]]:
    """By group, in the order of their names."""
    found: dict[str, list[JobRow]] = defaultdict(list)
    for job in evidence.jobs:
        if job.group is not None:
            found[job.group].append(job)
    for jobs in found.values():
        jobs.sort(key=lambda job: job.child_name.zfill(4))
    return found


def _groups(evidence: Evidence) -> dict[str, list[GroupRow]]:
    """By parent, first phase first."""
    found: dict[str, list[GroupRow]] = defaultdict(list)
    for group in evidence.groups:
        found[group.parent].append(group)
    return found


@BOOK.rule("groups: each phase's children are made once", "phases", lambda e: len(e.groups))
def _made_once(evidence: Evidence) -> Wrong:
    children, groups, attempts = _children(evidence), _groups(evidence), by_job(evidence.attempts)
    for group in evidence.groups:
        names = [child.child_name for child in children[group.id]]
        if names != [str(number) for number in range(group.size)]:
            yield group.parent, f"phase {group.phase} made {names}, of {group.size}"
    for parent in _parents(evidence):
        phases = [group.phase for group in groups[parent.id]]
        suspended = sum(attempt.outcome == "suspended" for attempt in attempts[parent.id])
        if phases != list(range(1, suspended + 1)):
            yield parent.id, f"phases {phases} after {suspended} attempts that made children"


@BOOK.rule(
    "groups: a parent's result is what its children came to", "parents",
    lambda e: sum(parent.status == "succeeded" for parent in _parents(e)),
)  # fmt: skip
def _results(evidence: Evidence) -> Wrong:
    children, groups = _children(evidence), _groups(evidence)
    for parent in _parents(evidence):
        if parent.status == "succeeded":
            truth: list[list[Any]] = [
                [[it.child_name, it.id, it.status, it.result_attempt] for it in children[group.id]]
                for group in groups[parent.id]
            ]
            if parent.came != truth:
                yield parent.id, f"says {parent.came}; it is {truth}"
            if len(truth) != parent.phases:
                yield parent.id, f"succeeded after {len(truth)} phases of {parent.phases}"


@BOOK.rule(
    "groups: no child is open after its parent has ended", "children", lambda e: sum(map(len, _children(e).values()))
)
def _no_orphans(evidence: Evidence) -> Wrong:
    children = _children(evidence)
    for group in evidence.groups:
        parent = evidence.job[group.parent]
        if parent.finished_at is None:
            continue
        patience_sec = 0.0 if parent.status == "succeeded" else ORPHAN_SEC
        for child in children[group.id]:
            if child.finished_at is None or child.finished_at > parent.finished_at + patience_sec:
                yield child.id, f"is {child.status}, ended {child.finished_at}; its parent ended {parent.finished_at}"


@BOOK.rule(
    "groups: a parent goes on when its children have ended, and as it asked to", "phases", lambda e: len(e.groups)
)
def _goes_on(evidence: Evidence) -> Wrong:
    children, groups, attempts = _children(evidence), _groups(evidence), by_job(evidence.attempts)
    for parent in _parents(evidence):
        nexts = [after for before, after in pairwise(attempts[parent.id]) if before.outcome == "suspended"]
        for place, group in enumerate(groups[parent.id]):
            failed = [child for child in children[group.id] if child.status in {"failed", "cancelled"}]
            if place < len(nexts):
                last = max((child.finished_at or float("inf") for child in children[group.id]), default=0.0)
                if nexts[place].started_at < last:
                    yield parent.id, f"went on before the children of phase {group.phase} had ended"
                if failed and group.on_failure == "fail":
                    yield parent.id, f"went on although {failed[0].id} had {failed[0].status}"
            elif parent.error_code == "CHILD_FAILED" and not (failed and group.on_failure == "fail"):
                yield parent.id, f"failed for its children of phase {group.phase}, which gave no reason to"
            elif parent.error_code != "CHILD_FAILED" and parent.status != "cancelled":
                yield parent.id, f"waits for phase {group.phase}, and is {parent.status}"
        if parent.error_code == "CHILD_FAILED" and len(nexts) == len(groups[parent.id]):
            yield parent.id, "failed for children that it did not wait for"
