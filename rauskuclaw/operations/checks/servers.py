"""Checks of Postgres and Redis: versions, what they were told to keep, room, clocks."""

from __future__ import annotations

import time
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from jobs.models import Node
from rauskuclaw.operations.findings import Findings, fail, ok, warn
from rauskuclaw.operations.text import count, size, span
from rauskuclaw.redis import client

MIN_POSTGRES = 14
"""The oldest that Django 5.2 supports."""
MIN_PGVECTOR = (0, 8)
"""The first whose indexes go on looking where a filter leaves too few."""
MIN_REDIS = (6, 2)
CLOCK_WARN_SEC, CLOCK_FAIL_SEC = 2.0, 30.0
NODE_START_SEC = 120.0
"""A worker says that it lives within so many seconds of its start; longer is a clock that goes wrong."""
BUSY_CONNECTIONS = 0.8
FULL_MEMORY = 0.9


def _one(sql: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


# Postgres


def postgres() -> Findings:
    """Its version, and that it keeps what it says it has committed."""
    number, shown = _one("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
    if number // 10_000 < MIN_POSTGRES:
        yield fail("postgres", f"Postgres {shown} is too old", f"Upgrade it to {MIN_POSTGRES} or newer.")
    else:
        yield ok("postgres", f"Postgres {shown.split()[0]}")
    settings = ("fsync", "full_page_writes", "synchronous_commit")
    values = _one(f"SELECT {', '.join(f'current_setting({name!r})' for name in settings)}")
    off = [name for name, value in zip(settings, values, strict=True) if value == "off"]
    if off:
        yield fail(
            "postgres.durability",
            f"Postgres may lose committed jobs when it crashes: {', '.join(off)} off",
            " ".join(f"ALTER SYSTEM SET {name} = on;" for name in off) + " SELECT pg_reload_conf();",
        )
    else:
        yield ok("postgres.durability", "What is committed survives a crash")


def pgvector() -> Findings:
    """The extension that memory stands on."""
    row = _one("SELECT (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')")
    if row[0] is None:
        yield fail(
            "pgvector",
            "This Postgres has no pgvector: the tables of memory cannot be made",
            "Install the package, e.g. postgresql-18-pgvector, or use the pgvector/pgvector image.",
        )
    elif tuple(map(int, row[0].split(".")[:2])) < MIN_PGVECTOR:
        wanted = ".".join(map(str, MIN_PGVECTOR))
        yield fail("pgvector", f"pgvector {row[0]} is too old", f"Upgrade it to {wanted} or newer.")
    else:
        yield ok("pgvector", f"pgvector {row[0]}")


def migrations() -> Findings:
    """The tables are those that this version of the code knows."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    foreign = [
        f"{app}.{name}"
        for app, name in MigrationRecorder(connection).applied_migrations()
        if app in executor.loader.migrated_apps and (app, name) not in executor.loader.disk_migrations
    ]
    if missing:
        yield fail(
            "migrations", f"{count(len(missing), 'migration')} not applied", "`manage.py migrate`, then restart all."
        )
    elif foreign:
        yield warn(
            "migrations",
            f"The database is ahead of this code: it has {', '.join(sorted(foreign))}",
            "Run the newer version everywhere, or restore the backup from before the upgrade.",
        )
    else:
        yield ok("migrations", "All applied")


def connections() -> Findings:
    """Room for more connections."""
    used, most = _one(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    told = f"{used} of {most} connections in use"
    if used >= most * BUSY_CONNECTIONS:
        yield warn(
            "postgres.connections",
            told,
            "Raise max_connections, lower WORKER_CONCURRENCY, or put PgBouncer in session mode before it.",
        )
    else:
        yield ok("postgres.connections", told)


def postgres_clock() -> Findings:
    """Postgres' clock decides leases and due times; ours signs tokens."""
    before = time.time()
    theirs = float(_one("SELECT extract(epoch FROM clock_timestamp())::float8")[0])
    yield from _clock("clock.postgres", "Postgres", theirs - (before + time.time()) / 2)


def node_clocks() -> Findings:
    """The workers' clocks, as far as they show: a worker notes by its own clock when its process began, and Postgres by
    its own when it first heard of it, seconds later."""
    off = []
    for node in Node.objects.filter(kind=Node.Kind.WORKER):
        start_sec = node.started_at.timestamp() - node.pid_created_at
        if start_sec < -CLOCK_WARN_SEC:
            off.append(f"{node.name} is {span(-start_sec)} ahead")
        elif start_sec > NODE_START_SEC:
            off.append(f"{node.name} is {span(start_sec)} behind, or took as long to start")
    if off:
        yield warn("clock.nodes", f"Clocks differ: {'; '.join(off)}", _NTP)
    else:
        yield ok("clock.nodes", "No worker's clock stands out")


_NTP = "Let NTP set the clocks (timedatectl set-ntp true, or chrony) on every machine."


def _clock(check: str, whose: str, difference_sec: float) -> Findings:
    told = f"{whose} is {span(abs(difference_sec))} {'ahead of' if difference_sec > 0 else 'behind'} this machine"
    if abs(difference_sec) >= CLOCK_FAIL_SEC:
        yield fail(check, told, _NTP)
    elif abs(difference_sec) >= CLOCK_WARN_SEC:
        yield warn(check, told, _NTP)
    else:
        yield ok(check, f"{whose} agrees with this machine to {span(abs(difference_sec))}")


# Redis


def redis() -> Findings:
    """Its version, and that it neither forgets nor throws away."""
    info: dict[str, Any] = client().info()
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    shown = str(info.get("valkey_version") or info["redis_version"])
    if tuple(map(int, str(info["redis_version"]).split(".")[:2])) < MIN_REDIS:
        wanted = ".".join(map(str, MIN_REDIS))
        yield fail("redis", f"{name} {shown} is too old", f"Upgrade it to {wanted} or newer.")
    else:
        yield ok("redis", f"{name} {shown}")
    yield from _eviction(info)
    yield from _persistence(info)


def _eviction(info: dict[str, Any]) -> Findings:
    policy, most, used = info.get("maxmemory_policy"), int(info.get("maxmemory", 0)), int(info["used_memory"])
    if policy != "noeviction":
        yield fail(
            "redis.policy",
            f"A full Redis throws messages away (maxmemory-policy {policy})",
            "CONFIG SET maxmemory-policy noeviction, in its configuration file too. Give caches another Redis.",
        )
    elif most and used > most * FULL_MEMORY:
        yield warn(
            "redis.memory", f"{size(used)} of {size(most)} in use", "Raise maxmemory: a full Redis refuses new work."
        )
    else:
        yield ok("redis.policy", f"noeviction, {size(used)} in use")


def _persistence(info: dict[str, Any]) -> Findings:
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        yield fail("redis.persistence", "Redis cannot write its append-only file", "See its log; free disk space.")
    elif info.get("aof_enabled"):
        yield ok("redis.persistence", "Append-only file on")
    else:
        yield warn(
            "redis.persistence",
            "Redis has no append-only file: a restart empties it, and jobs wait some seconds to be published again",
            "CONFIG SET appendonly yes, in its configuration file too. No job is lost either way.",
        )


def redis_clock() -> Findings:
    """Rate limits go by Redis' clock."""
    before = time.time()
    seconds, microseconds = client().time()
    yield from _clock("clock.redis", "Redis", seconds + microseconds / 1e6 - (before + time.time()) / 2)
