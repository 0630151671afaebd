"""One run: start a stack, let clients and faults loose on it, wait until it is quiet, judge what happened."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.checker import check
from tests.chaos.cluster import Cluster, faketime_library
from tests.chaos.evidence import Evidence, read_ledger, read_rows
from tests.chaos.history import History
from tests.chaos.nemeses import NEMESES, heal, resume_forgotten, strike
from tests.chaos.plan import Fault, Plan, make_plan
from tests.chaos.receiver import Receiver
from tests.chaos.rules import Finding
from tests.chaos.workload import Workload
from tests.running import processes_with

BOUND_SEC = 90.0
DRAIN_PER_SEC = 8.0
"""After the last fault every job has so long to end: a minute and a half, and the time to work off what has piled up
under the faults, at eight a second."""
SURVIVORS_SEC = 10.0
WATCH_SEC = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run came to. began_at, quiet_at: Unix seconds."""

    plan: Plan
    evidence: Evidence
    findings: list[Finding]
    began_at: float
    quiet_at: float


def fault_names() -> list[str]:
    """The faults that can be done on this machine."""
    return [name for name in NEMESES if name != "clock jump" or faketime_library() is not None]


def run(*, jobs: int, seed: int, folder: Path, say: Say = print) -> Outcome:
    """Do the run of `seed`. `folder` gets the history, the rows, the ledger and the stack's log."""
    plan = make_plan(jobs=jobs, seed=seed, faults=fault_names())
    say(f"seed {seed}: {jobs} jobs and {len(plan.faults)} faults in {plan.seconds:.0f} s")
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster()
    history = History(folder / "history.jsonl")
    receiver = Receiver(history, seed=seed)
    try:
        cluster.start()
        outcome = asyncio.run(_drive(plan, cluster, history, receiver, say))
        outcome.evidence.save(folder)
        return outcome
    finally:
        (folder / "stack.log").write_text(cluster.log, "utf-8")
        with contextlib.suppress(FileNotFoundError):
            (folder / "ledger").write_bytes(cluster.ledger.read_bytes())
        cluster.stop()
        receiver.stop()
        history.close()


async def _drive(plan: Plan, cluster: Cluster, history: History, receiver: Receiver, say: Say) -> Outcome:
    workload = Workload(
        plan,
        history,
        bases=cluster.bases,
        headers=cluster.headers,
        ledger=str(cluster.ledger),
        callback_url=receiver.url,
    )
    began_at = history.now()
    telling = asyncio.create_task(_tell(plan, cluster, history, workload, say))
    watching = asyncio.create_task(_watch_pauses(cluster))
    clients = asyncio.create_task(workload.run())
    await _all_faults(plan.faults, cluster, history)
    heal(cluster)
    last_fault_at = history.now()
    say(f"{last_fault_at - began_at:5.0f} s  the last fault is over")
    await clients
    await _until_quiet(cluster, history.now() + BOUND_SEC + len(plan.jobs) / DRAIN_PER_SEC, history)
    quiet_at = history.now()
    telling.cancel()
    watching.cancel()
    say(f"{quiet_at - began_at:5.0f} s  quiet; looking at every job once more")
    await workload.hear_of_all_ends()
    await workload.look_at_all()
    await workload.close()
    rows = await asyncio.to_thread(_rows, cluster)
    open_then = sum((job.finished_at or quiet_at) > last_fault_at for job in rows["jobs"])
    evidence = Evidence(
        history=history.events,
        ledger=read_ledger(cluster.ledger.read_text()),
        survivors=await asyncio.to_thread(_survivors, plan.seed),
        pauses=cluster.pauses,
        last_fault_at=last_fault_at,
        bound_sec=BOUND_SEC + open_then / DRAIN_PER_SEC,
        **rows,
    )
    return Outcome(plan, evidence, check(evidence), began_at, quiet_at)


async def _all_faults(faults: Sequence[Fault], cluster: Cluster, history: History) -> None:
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as striking:
        for fault in faults:
            await asyncio.sleep(max(0.0, started + fault.at_sec - asyncio.get_running_loop().time()))
            striking.create_task(strike(cluster, fault, history))


async def _until_quiet(cluster: Cluster, until: float, history: History) -> None:
    """Until every job has ended and every callback was taken, or the time is up."""
    while history.now() < until and await asyncio.to_thread(_open_work, cluster) != 0:
        await asyncio.sleep(0.5)


async def _watch_pauses(cluster: Cluster) -> None:
    """What an operator does who looks at the queues now and then."""
    while True:
        await asyncio.sleep(WATCH_SEC)
        await resume_forgotten(cluster)


def _open_work(cluster: Cluster) -> int | None:
    """Jobs that have not ended and callbacks that are pending; None while Postgres is away."""
    with contextlib.suppress(psycopg.Error), cluster.database() as database:
        row = database.execute(
            "SELECT (SELECT count(*) FROM jobs_job WHERE finished_at IS NULL)"
            " + (SELECT count(*) FROM jobs_callbackdelivery WHERE state = 'pending')"
        ).fetchone()
        return int(row[0]) if row else None
    return None


def _rows(cluster: Cluster) -> dict[str, list[Any]]:
    with cluster.database() as database:
        return read_rows(database)


def _survivors(seed: int) -> list[str]:
    give_up_at = time.monotonic() + SURVIVORS_SEC
    mark = f"sleep 86400.{seed}"
    while (found := processes_with(mark)) and time.monotonic() < give_up_at:
        time.sleep(0.2)
    return [f"{mark}, pid {pid}" for pid in found]


async def _tell(plan: Plan, cluster: Cluster, history: History, workload: Workload, say: Say) -> None:
    """A line every ten seconds."""
    began = history.now()
    while True:
        await asyncio.sleep(10)
        faults = [event["name"] for event in history.of("fault") if event["at"] > history.now() - 10]
        left = await asyncio.to_thread(_open_work, cluster)
        say(
            f"{history.now() - began:5.0f} s  {len(workload.accepted)} of {len(plan.jobs)} accepted,"
            f" {'?' if left is None else left} open; {', '.join(faults)}"
        )
