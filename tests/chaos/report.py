"""`docs/chaos-report.md`: one page on one run, with its picture, its numbers, and the command that repeats it."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path
from statistics import quantiles
from textwrap import fill

import psutil

from rauskuclaw.stack.binaries import POSTGRES_MAJOR
from tests.chaos.checker import RULES
from tests.chaos.cluster import BEATS, IOS, LEASE_SEC, POOL_PROCESSES, SYSTEMS, WEBS, WORKERS
from tests.chaos.evidence import Evidence
from tests.chaos.nemeses import NEMESES
from tests.chaos.run import Outcome
from tests.chaos.timeline import Bar, timeline

PAGE, PICTURE = "chaos-report.md", "chaos-timeline.svg"


def write_report(outcome: Outcome, folder: Path) -> None:
    """Write the page and the picture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PICTURE).write_text(picture(outcome), "utf-8")
    (folder / PAGE).write_text(page(outcome), "utf-8")


def picture(outcome: Outcome) -> str:
    """The timeline."""
    evidence, began = outcome.evidence, outcome.began_at
    return timeline(
        submitted=sorted(_first_answers(evidence, began).values()),
        ended=[job.finished_at - began for job in evidence.jobs if job.finished_at],
        faults=[
            Bar(event["name"], event["began"] - began, event["at"] - began, event["struck"])
            for event in evidence.events("fault")
        ],
        seconds=outcome.quiet_at - began,
    )


def page(outcome: Outcome) -> str:
    """The page."""
    plan = outcome.plan
    return f"""# Chaos report

<!-- made by `make chaos`: run it to renew this page -->

{_wrapped(_summary(outcome))}

    make chaos JOBS={len(plan.jobs)} SEED={plan.seed}

![Jobs a second, and the faults below]({PICTURE})

{_wrapped(f"Grey marks are faults that came while their victim was down already. {_quiet(outcome)}")}

## The stack

{_wrapped(_stack())}

## What was judged

The evidence is what clients saw (each answer, each stream event, each callback), every row, a trigger's note of every
change of a status with its transaction, and a ledger that the handlers write outside the database. What runs is what
the rows say: an attempt whose worker was stopped ended with its lease, whatever the worker did when it woke.

| rule | looked at | violations |
| --- | ---: | ---: |
{_rules(outcome)}

Not judged here: I8 (schedules), of which the run has none. Two beats ring throughout, killed, and with one of their
clocks off by an hour.

## Numbers

{_numbers(outcome)}
{_findings(outcome)}"""


def _summary(outcome: Outcome) -> str:
    evidence = outcome.evidence
    verdict = "**No violation.**" if not outcome.findings else f"**{len(outcome.findings)} violations.**"
    return (
        f"{verdict} {len(evidence.jobs):,} jobs ran on one stack while {len(evidence.events('fault')):,} faults struck"
        " it, and afterwards each job's whole life was checked against the invariants of the design. The same again,"
        " with the same jobs and the same faults at the same moments:"
    )


def _stack() -> str:
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{len(WEBS)} web processes, {len(WORKERS)} worker nodes of {POOL_PROCESSES} processes, {len(IOS)} I/O workers,"
        f" {len(SYSTEMS)} system workers, {len(BEATS)} beats, Postgres {POSTGRES_MAJOR} and Valkey, all under the"
        f" supervisor of `make up`, which restarts what dies; lease {LEASE_SEC} s. Postgres is durable as always"
        f" (fsync, synchronous_commit, full_page_writes). One machine: {os.cpu_count()} cores, {memory_gib:.0f} GiB,"
        f" {platform.system()} {platform.machine()}, Python {platform.python_version()}."
    )


def _wrapped(text: str) -> str:
    return fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _rules(outcome: Outcome) -> str:
    found = Counter(finding.rule for finding in outcome.findings)
    return "\n".join(
        f"| {name} | {rule.count(outcome.evidence):,} {rule.noun} | {found[name]} |" for name, rule in RULES.items()
    )


def _quiet(outcome: Outcome) -> str:
    last_end = max((job.finished_at or 0 for job in outcome.evidence.jobs), default=0)
    seconds = last_end - outcome.evidence.last_fault_at
    bound = f"the bound is {outcome.evidence.bound_sec:.0f} s"
    if seconds <= 0:
        return f"All jobs had ended when the last fault was over ({bound})."
    return f"The last job ended {seconds:.0f} s after the last fault ({bound})."


def _numbers(outcome: Outcome) -> str:
    evidence = outcome.evidence
    submits, streams, callbacks = (evidence.events(what) for what in ("submit", "stream", "callback"))
    unknown = sum(event["code"] is None or event["code"] >= 500 for event in submits)
    raced = sum(count > 1 for count in Counter(event["plan"] for event in submits if event["job"]).values())
    statuses = Counter(job.status for job in evidence.jobs)
    outcomes = Counter(attempt.outcome for attempt in evidence.attempts)
    followed = {event["job"] for event in streams}
    shown = sum(len(event["ids"]) for event in streams)
    deliveries = {event["delivery"] for event in callbacks}
    waits = sorted(seconds for seconds in _submit_to_end(outcome))
    cuts = quantiles(waits, n=100) if len(waits) > 1 else [0.0] * 99
    facts = [
        f"{len(submits):,} submissions, {unknown:,} of them without a clear answer (broken connection, timeout, 5xx);"
        f" {len(evidence.accepted):,} jobs accepted, {raced:,} keys answered more than once",
        f"Ends: {_list(statuses)}; {len(evidence.transitions):,} changes of a status",
        f"Attempts: {_list(outcomes)}",
        f"From the first answer to the end: median {cuts[49]:.2f} s, p99 {cuts[98]:.1f} s, faults and retries included",
        f"Streams: {len(followed):,} jobs followed over {len(streams):,} connections, {shown:,} lines",
        f"Callbacks: {len(deliveries):,} ends told in {len(callbacks):,} requests",
        f"Kinds of jobs: {_list(Counter(job.kind for job in outcome.plan.jobs))};"
        f" children of parents {sum(job.group is not None for job in evidence.jobs):,}",
        f"Faults that met their victim: {_faults(evidence)}",
        f"{len(evidence.events('seen')):,} answers about jobs' states, {len(evidence.ledger):,} steps in the ledger",
    ]
    return "\n".join(_wrapped(f"- {fact}").replace("\n", "\n  ") for fact in facts)


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.most_common())


def _first_answers(evidence: Evidence, began: float) -> dict[str, float]:
    """When each accepted job was first answered, in seconds since the start."""
    first: dict[str, float] = {}
    for event in evidence.events("submit"):
        if event["job"]:
            first.setdefault(event["job"], event["at"] - began)
    return first


def _submit_to_end(outcome: Outcome) -> list[float]:
    first = _first_answers(outcome.evidence, 0.0)
    return [
        max(0.0, job.finished_at - first[job.id])
        for job in outcome.evidence.jobs
        if job.finished_at and job.id in first
    ]


def _faults(evidence: Evidence) -> str:
    struck = Counter(event["name"] for event in evidence.events("fault") if event["struck"])
    return ", ".join(f"{name} {struck[name]}" for name in NEMESES)


def _findings(outcome: Outcome) -> str:
    if not outcome.findings:
        return ""
    lines = "\n".join(f"- {finding}" for finding in outcome.findings[:50])
    return f"\n## Violations\n\n{lines}\n"
