"""The rules of flow control: limits, rates, what a full key does, debouncing, expiry, pauses. docs/flow-control.md.

What counts is rows. An attempt runs from its claim to its end in Postgres: one whose worker was stopped ended with its
lease, whatever the worker did when it woke.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.chaos.evidence import Evidence, JobRow, Transition
from tests.chaos.kinds import KEEP, QUEUE_LIMITS, REPLACE, TYPES, UNIQUE_WINDOW_SEC
from tests.chaos.rules import TERMINAL, RuleBook, Wrong

COMMIT_SEC = 2.0
"""Two transactions whose changes of a status are less apart may not have seen each other: a trigger notes the moment of
the change and not that of the commit."""
LOCK_SEC = 1.0
"""How long a claim may wait for its row: it looks at the clock before and notes it after."""
ROUNDING_SEC = 0.001
FOR_EVER = float("inf")

BOOK = RuleBook()

Interval = tuple[float, float]


def _limited(evidence: Evidence) -> int:
    return sum(any(_limits_on(evidence.job[attempt.job])) for attempt in evidence.attempts)


@BOOK.rule("flow: never more attempts at once than a limit allows", "attempts", _limited)
def _limits(evidence: Evidence) -> Wrong:
    ran: dict[tuple[str, int], list[Interval]] = defaultdict(list)
    for attempt in evidence.attempts:
        for limit in _limits_on(evidence.job[attempt.job]):
            ended_at = FOR_EVER if attempt.ended_at is None else attempt.ended_at
            ran[limit].append((attempt.started_at, ended_at))
    for (name, most), intervals in ran.items():
        if (found := _most_at_once(intervals)) > most:
            yield name, f"{found} at once, of at most {most}"


def _limits_on(job: JobRow) -> Iterable[tuple[str, int]]:
    """What the job counts against, and how many may."""
    limits = TYPES[job.type]
    if limits.max_running is not None:
        yield job.type, limits.max_running
    if limits.max_running_per_key is not None and job.key:
        yield f"{job.type}/{job.key}", limits.max_running_per_key
    if job.queue in QUEUE_LIMITS:
        yield f"queue {job.queue}", QUEUE_LIMITS[job.queue]


def _most_at_once(intervals: Iterable[Interval]) -> int:
    """How many overlap at most; one that begins when another ends does not overlap it."""
    steps = sorted(step for start, end in intervals if start < end for step in ((start, 1), (end, -1)))
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def _rated(evidence: Evidence) -> int:
    return sum(TYPES[evidence.job[attempt.job].type].rate is not None for attempt in evidence.attempts)


@BOOK.rule("flow: never more attempts begin in a period than a rate allows", "attempts", _rated)
def _rates(evidence: Evidence) -> Wrong:
    starts: dict[tuple[str, str], list[float]] = defaultdict(list)
    for attempt in evidence.attempts:
        job = evidence.job[attempt.job]
        if TYPES[job.type].rate:
            starts[job.type, job.key].append(attempt.started_at)
    for (type_, key), moments in starts.items():
        rate = TYPES[type_].rate
        assert rate is not None
        moments.sort()
        for first, beyond in zip(moments, moments[rate.limit :], strict=False):
            if beyond - first < rate.period_sec - ROUNDING_SEC:
                yield f"{type_}/{key}", f"{rate.limit + 1} began in {beyond - first:.3f} s, from {first:.3f} on"


class _Lives:
    """The jobs as the trigger saw them made and ended."""

    def __init__(self, evidence: Evidence) -> None:
        self.made: dict[str, Transition] = {}
        self.ended: dict[str, Transition] = {}
        self.order: dict[str, int] = {}
        """By when they were made: under the lock of their key, if they have one."""
        for place, step in enumerate(evidence.transitions):
            if step.old is None:
                self.made[step.job], self.order[step.job] = step, place
            elif step.new in TERMINAL:
                self.ended[step.job] = step

    def seen_from(self, job: str) -> float:
        """Nobody else saw it before: its transaction may have waited long between two of its steps."""
        made = self.made[job]
        return made.at if made.committed_at is None else made.committed_at

    def ended_at(self, job: str) -> float:
        return self.ended[job].at if job in self.ended else FOR_EVER

    def in_order(self, jobs: Iterable[JobRow]) -> list[JobRow]:
        return sorted((job for job in jobs if job.id in self.order), key=lambda job: self.order[job.id])


def _acting(evidence: Evidence) -> dict[tuple[str, str], list[JobRow]]:
    """Jobs by type and key, where a full key does something to new ones."""
    found: dict[tuple[str, str], list[JobRow]] = defaultdict(list)
    for job in evidence.jobs:
        if job.key and TYPES[job.type].on_limit != "wait":
            found[job.type, job.key].append(job)
    return found


@BOOK.rule(
    "flow: a full key cancels its oldest job, or drops the new one, and no other", "jobs",
    lambda e: sum(map(len, _acting(e).values())),
)  # fmt: skip
def _full_keys(evidence: Evidence) -> Wrong:
    lives = _Lives(evidence)
    for (type_, key), jobs in _acting(evidence).items():
        limit, ordered = TYPES[type_].max_running_per_key or 0, lives.in_order(jobs)
        # A moment after it was made a job stands beside those only that may stay.
        lasting = [(lives.seen_from(job.id) + COMMIT_SEC, lives.ended_at(job.id)) for job in ordered]
        if (most := _most_at_once(lasting)) > limit:
            yield f"{type_}/{key}", f"{most} open at once, of at most {limit}"
        for place, job in enumerate(ordered):
            made, ended = lives.made[job.id], lives.ended.get(job.id)
            if job.error_code == "DROPPED":
                earlier = [it for it in ordered[:place] if lives.ended_at(it.id) > made.at - COMMIT_SEC]
                if TYPES[type_].on_limit != "drop_new" or len(earlier) < limit:
                    yield job.id, f"was dropped beside {len(earlier)} open jobs of its key; {limit} may be"
                if ended is None or ended.top != made.top:
                    yield job.id, "was dropped by another transaction than the one that made it"


def _replaced(evidence: Evidence) -> list[JobRow]:
    return [job for job in evidence.jobs if job.error_code == "REPLACED"]


@BOOK.rule(
    "flow: a job is replaced by a newer one of its key alone, in the same instant", "jobs", lambda e: len(_replaced(e))
)
def _replacements(evidence: Evidence) -> Wrong:
    lives = _Lives(evidence)
    makers: dict[int, list[JobRow]] = defaultdict(list)
    for job in evidence.jobs:
        if job.id in lives.made:
            makers[lives.made[job.id].top].append(job)
    for job in _replaced(evidence):
        ended = lives.ended.get(job.id)
        if ended is None or not any(_may_replace(newer, job, lives) for newer in makers[ended.top]):
            yield job.id, "was replaced, and no newer job of its key was made in that transaction"


def _may_replace(newer: JobRow, job: JobRow, lives: _Lives) -> bool:
    if newer.type != job.type or lives.order[newer.id] <= lives.order[job.id]:
        return False
    by_limit = TYPES[job.type].on_limit == "cancel_running" and bool(job.key) and newer.key == job.key
    return by_limit or (job.unique_key.startswith(REPLACE) and newer.unique_key == job.unique_key)


def _debounced(evidence: Evidence, policy: str) -> dict[str, list[JobRow]]:
    """Jobs by unique key, in the order they were made."""
    found: dict[str, list[JobRow]] = defaultdict(list)
    for job in _Lives(evidence).in_order(evidence.jobs):
        if job.unique_key.startswith(policy):
            found[job.unique_key].append(job)
    return found


@BOOK.rule(
    "flow: of the requests that `keep` debounces the first makes a job, and the others get it", "requests",
    lambda e: sum(event["unique"].startswith(KEEP) for event in e.events("submit")),
)  # fmt: skip
def _kept(evidence: Evidence) -> Wrong:
    lives, window = _Lives(evidence), UNIQUE_WINDOW_SEC[KEEP]
    for key, jobs in _debounced(evidence, KEEP).items():
        for before, after in pairwise(job for job in jobs if job.status != "cancelled"):
            # A transaction that waited for the key's lock began long before it looked.
            if (apart := lives.made[after.id].at - before.created_at) < window - ROUNDING_SEC:
                yield key, f"{before.id} and {after.id} were made {apart:.3f} s apart"
    asked_at: dict[int, float] = {}
    for event in evidence.events("submit"):
        since = asked_at.setdefault(event["plan"], event["began"]) - window - COMMIT_SEC
        told = evidence.job.get(event["job"])
        if event["unique"].startswith(KEEP) and told is not None:
            if told.unique_key != event["unique"]:
                yield (
                    f"plan {event['plan']}",
                    f"asked for {event['unique']}, and was given a job of {told.unique_key!r}",
                )
            elif told.created_at < since:
                yield (
                    f"plan {event['plan']}",
                    f"was given {told.id}, which was made {since - told.created_at:.1f} s before",
                )


@BOOK.rule(
    "flow: of the jobs that `replace` debounces the last runs, when the window is over", "jobs",
    lambda e: sum(map(len, _debounced(e, REPLACE).values())),
)  # fmt: skip
def _last_runs(evidence: Evidence) -> Wrong:
    lives, window = _Lives(evidence), UNIQUE_WINDOW_SEC[REPLACE]
    began = {attempt.job: attempt.started_at for attempt in evidence.attempts if attempt.number == 1}
    for jobs in _debounced(evidence, REPLACE).values():
        for before, after in pairwise(jobs):
            if lives.made[after.id].at < before.created_at + window - COMMIT_SEC and before.status != "cancelled":
                yield before.id, f"is {before.status}, and {after.id} was to replace it"
        for job in jobs:
            if began.get(job.id, FOR_EVER) < job.created_at + window - ROUNDING_SEC:
                yield job.id, f"began {began[job.id] - job.created_at:.3f} s after it was made"


@BOOK.rule(
    "flow: nothing begins after its time to begin, and nothing else expires", "jobs",
    lambda e: sum(job.expires_at is not None for job in e.jobs),
)  # fmt: skip
def _expiry(evidence: Evidence) -> Wrong:
    began = {attempt.job: attempt.started_at for attempt in evidence.attempts if attempt.number == 1}
    for job in evidence.jobs:
        late = began.get(job.id, 0.0) - (FOR_EVER if job.expires_at is None else job.expires_at)
        if late > LOCK_SEC:
            yield job.id, f"began {late:.3f} s too late"
        if job.error_code == "JOB_EXPIRED":
            if job.id in began:
                yield job.id, "expired, and had begun"
            if job.expires_at is None or (job.finished_at or 0.0) < job.expires_at:
                yield job.id, "expired before its time to begin was over"


@BOOK.rule("flow: nothing begins during a pause", "pauses", lambda e: len(e.pauses))
def _pauses(evidence: Evidence) -> Wrong:
    made_at = {step.job: step.at for step in evidence.transitions if step.old is None}
    for pause in evidence.pauses:
        for attempt in evidence.attempts:
            job = evidence.job[attempt.job]
            if pause.name != (job.queue if pause.what == "queues" else job.type):
                continue
            # Only a job that is being made in the same instant may slip through.
            slipped = pause.asked_at - COMMIT_SEC < made_at[job.id] < pause.paused_at + COMMIT_SEC
            if pause.paused_at < attempt.started_at < pause.resumed_at and not slipped:
                yield job.id, f"began {attempt.started_at - pause.paused_at:.3f} s into the pause of {pause.name}"
