"""The faults. Each hurts, waits, and takes back what would not heal by itself; the supervisor restarts what is dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import psutil
import psycopg
import redis

from tests.chaos.cluster import BEATS, IOS, LEASE_SEC, SYSTEMS, WEBS, WORKERS, Cluster
from tests.chaos.evidence import Pause
from tests.chaos.history import History
from tests.chaos.kinds import QUEUE_LIMITS, TYPES
from tests.chaos.plan import Fault

MISSED = (
    httpx.HTTPError,
    psutil.Error,
    psycopg.Error,
    redis.RedisError,
    ProcessLookupError,
    IndexError,
    OSError,
)
"""What a fault meets that comes while its victim is down already."""

ZOMBIE_SEC = LEASE_SEC + 2.5
"""A stopped worker wakes when others have long had its jobs."""

HOUR_SEC = 3600
PAUSE_TRIES, RESUME_TRIES = 5, 120
"""A pause may come too late; a web process answers again within a minute, whatever struck it."""

Nemesis = Callable[[Cluster, Fault], Awaitable[str]]
"""Returns the victim's name."""

NEMESES: dict[str, Nemesis] = {}


def nemesis(function: Nemesis) -> Nemesis:
    """Put a fault into NEMESES, under its own name."""
    NEMESES[function.__name__.replace("_", " ")] = function
    return function


async def strike(cluster: Cluster, fault: Fault, history: History) -> None:
    """Do one fault, and note it."""
    began = history.now()
    try:
        victim = await NEMESES[fault.name](cluster, fault)
        history.add("fault", began=began, name=fault.name, victim=victim, struck=True)
    except MISSED as error:
        history.add("fault", began=began, name=fault.name, victim=str(error)[:200], struck=False)


def _choose(names: tuple[str, ...], fault: Fault) -> str:
    return names[int(fault.pick * len(names))]


async def _kill(cluster: Cluster, name: str, number: signal.Signals) -> str:
    os.kill(cluster.pid_of(name), number)
    return name


# Workers


@nemesis
async def kill_worker_child(cluster: Cluster, fault: Fault) -> str:
    """SIGKILL to a pool process, in the middle of whatever it does."""
    name = _choose(WORKERS, fault)
    children = cluster.pool_pids(name)
    os.kill(children[int(fault.pick * 97 % 1 * len(children))], signal.SIGKILL)
    return name


@nemesis
async def kill_worker_node(cluster: Cluster, fault: Fault) -> str:
    """SIGKILL to the worker's parent process."""
    return await _kill(cluster, _choose(WORKERS, fault), signal.SIGKILL)


@nemesis
async def zombie_node(cluster: Cluster, fault: Fault) -> str:
    """All of a node sleeps past its lease, and then goes on as if nothing had been."""
    name = _choose(WORKERS, fault)
    async with _stopped([cluster.pid_of(name), *cluster.pool_pids(name)]):
        await asyncio.sleep(ZOMBIE_SEC)
    return name


@nemesis
async def zombie_agent(cluster: Cluster, fault: Fault) -> str:
    """Only the parent sleeps: handlers go on while their leases run out, and finish as stale attempts."""
    name = _choose(WORKERS, fault)
    async with _stopped([cluster.pid_of(name)]):
        await asyncio.sleep(ZOMBIE_SEC)
    return name


@nemesis
async def kill_io_worker(cluster: Cluster, fault: Fault) -> str:
    """SIGKILL to a worker of coroutines."""
    return await _kill(cluster, _choose(IOS, fault), signal.SIGKILL)


@nemesis
async def zombie_io_worker(cluster: Cluster, fault: Fault) -> str:
    """It sleeps past its lease, with all its coroutines, and then goes on."""
    name = _choose(IOS, fault)
    async with _stopped([cluster.pid_of(name)]):
        await asyncio.sleep(ZOMBIE_SEC)
    return name


@contextlib.asynccontextmanager
async def _stopped(pids: list[int]) -> AsyncIterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@nemesis
async def rolling_restart(cluster: Cluster, _fault: Fault) -> str:
    """Each worker is drained and replaced by a new one, one after the other; then each web process."""
    for name in (*WORKERS, *IOS, *WEBS):
        old = cluster.pid_of(name)
        os.kill(old, signal.SIGTERM)
        for _ in range(200):
            with contextlib.suppress(OSError):
                if cluster.pid_of(name) != old:
                    break
            await asyncio.sleep(0.1)
    return "workers and webs"


# An operator


@nemesis
async def pause(cluster: Cluster, fault: Fault) -> str:
    """A queue or a job type is paused for a while."""
    targets = [("job-types", name) for name in TYPES] + [("queues", name) for name in ("default", *QUEUE_LIMITS)]
    what, name = targets[int(fault.pick * len(targets))]
    if (what, name) in cluster.paused:
        raise ProcessLookupError(f"{name} is paused already")
    cluster.paused.add((what, name))
    asked_at = time.time()
    try:
        await _ask(cluster, f"/v1/{what}/{name}/pause", PAUSE_TRIES)
        paused_at = time.time()
        await asyncio.sleep(2 * fault.seconds)
        cluster.pauses.append(Pause(what, name, asked_at, paused_at, time.time()))
    finally:
        await _ask(cluster, f"/v1/{what}/{name}/resume", RESUME_TRIES)
        cluster.paused.discard((what, name))
    return name


async def resume_forgotten(cluster: Cluster) -> None:
    """Resume what is paused although no fault holds it: a request done after its client gave up."""

    def forgotten() -> list[tuple[str, str]]:
        with cluster.database() as database:
            paused = database.execute(
                "SELECT 'queues', name FROM jobs_queue WHERE paused"
                " UNION ALL SELECT 'job-types', name FROM jobs_jobtype WHERE paused"
            ).fetchall()
        return [(what, name) for what, name in paused if (what, name) not in cluster.paused]

    with contextlib.suppress(*MISSED):
        for what, name in await asyncio.to_thread(forgotten):
            await _ask(cluster, f"/v1/{what}/{name}/resume", PAUSE_TRIES)


async def _ask(cluster: Cluster, path: str, tries: int) -> None:
    """POST until it is answered well. Raises httpx.HTTPError for the last try's failure."""
    async with httpx.AsyncClient(headers=cluster.headers, timeout=5, trust_env=False) as http:
        for left in reversed(range(tries)):
            try:
                answer = await http.post(random.choice(cluster.bases) + path)
                answer.raise_for_status()
            except httpx.HTTPError:
                if not left:
                    raise
                await asyncio.sleep(0.5)
            else:
                return


# Web, beat, system


@nemesis
async def kill_web(cluster: Cluster, fault: Fault) -> str:
    """SIGKILL to a web process."""
    return await _kill(cluster, _choose(WEBS, fault), signal.SIGKILL)


@nemesis
async def kill_beat(cluster: Cluster, fault: Fault) -> str:
    """SIGKILL to a beat."""
    return await _kill(cluster, _choose(BEATS, fault), signal.SIGKILL)


@nemesis
async def kill_system_worker(cluster: Cluster, fault: Fault) -> str:
    """SIGKILL to a worker of the heartbeat work: it may be delivering a callback or taking back a lease."""
    return await _kill(cluster, _choose(SYSTEMS, fault), signal.SIGKILL)


@nemesis
async def clock_jump(cluster: Cluster, fault: Fault) -> str:
    """One node's wall clock jumps by an hour, forward or back, and later returns."""
    shift = HOUR_SEC if fault.pick < 0.5 else -HOUR_SEC
    cluster.set_clock(shift)
    await asyncio.sleep(2 + 2 * fault.seconds)
    cluster.set_clock(0)
    return f"{shift:+d} s"


# Redis


@nemesis
async def flush_redis(cluster: Cluster, _fault: Fault) -> str:
    """FLUSHALL: every message and hint is gone."""
    await asyncio.to_thread(cluster.redis().flushall)
    return "redis"


@nemesis
async def restart_redis(cluster: Cluster, _fault: Fault) -> str:
    """A clean shutdown."""
    return await _kill(cluster, "redis", signal.SIGTERM)


@nemesis
async def kill_redis(cluster: Cluster, _fault: Fault) -> str:
    """SIGKILL."""
    return await _kill(cluster, "redis", signal.SIGKILL)


@nemesis
async def hang_redis(cluster: Cluster, fault: Fault) -> str:
    """It takes connections and answers nothing."""
    async with _stopped([cluster.pid_of("redis")]):
        await asyncio.sleep(fault.seconds)
    return "redis"


@nemesis
async def fill_redis(cluster: Cluster, fault: Fault) -> str:
    """Out of memory under noeviction: every write is refused."""
    client = cluster.redis()
    await asyncio.to_thread(client.config_set, "maxmemory", 1)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await asyncio.to_thread(client.config_set, "maxmemory", 0)
    return "redis"


# Postgres


@nemesis
async def stop_postgres_at_once(cluster: Cluster, _fault: Fault) -> str:
    """Immediate shutdown: no checkpoint, every connection cut, recovery at the next start."""
    return await _kill(cluster, "postgres", signal.SIGQUIT)


@nemesis
async def end_all_connections(cluster: Cluster, _fault: Fault) -> str:
    """pg_terminate_backend on everybody, in the middle of their transactions."""

    def end() -> None:
        with cluster.database() as database:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    await asyncio.to_thread(end)
    return "postgres"


@nemesis
async def exhaust_connections(cluster: Cluster, fault: Fault) -> str:
    """All of max_connections is taken: whoever opens a new connection is refused. Those that are open are cut first."""
    taken: list[psycopg.Connection[object]] = []

    def take() -> None:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(cluster.database())

    await end_all_connections(cluster, fault)
    try:
        await asyncio.to_thread(take)
        await asyncio.sleep(fault.seconds)
    finally:
        for connection in taken:
            connection.close()
    return f"postgres, {len(taken)} taken"


def heal(cluster: Cluster) -> None:
    """Whatever a fault could not take back itself: a CONFIG SET to a Redis that had just died."""
    cluster.set_clock(0)
    with contextlib.suppress(redis.RedisError):
        cluster.redis().config_set("maxmemory", 0)
