"""What a number is worth nothing without: hardware, versions, durability, and how loaded the machine was."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.bench.lab import PEERS_PYTHON, Lab

OURS = ("django", "djangorestframework", "celery", "redis", "psycopg", "uvicorn", "uvloop", "a2wsgi")
PEERS = ("procrastinate", "rq", "dramatiq", "redis", "psycopg")
DURABILITY = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "jit",
)
FSYNCS = 200


def describe(lab: Lab) -> dict[str, Any]:
    """All of it, as JSON."""
    with psycopg.connect(lab.postgres.url) as connection:
        settings = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in DURABILITY}  # type: ignore[index]
        postgres = connection.execute("SHOW server_version").fetchone()[0]  # type: ignore[index]
    with lab.redis() as client:
        valkey: Any = client.info("server")
        configured: Any = client.config_get("append*")
    memory = psutil.virtual_memory().total
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "file_system": _file_system(lab.folder),
        "fsync_ms": _fsync_ms(lab.folder),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in OURS},
        "peers": _peer_versions(),
        "postgres": {"version": postgres, **settings},
        "valkey": {
            "version": valkey.get("valkey_version") or valkey["redis_version"],
            "appendonly": configured["appendonly"],
            "appendfsync": configured["appendfsync"],
        },
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _fsync_ms(folder: Path) -> float:
    """The median of writing 8 kB and waiting for the disk: what a commit costs at least."""
    took = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(FSYNCS):
            file.write(b"x" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 3)


def _peer_versions() -> dict[str, str]:
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {PEERS!r}}}))"
    if not PEERS_PYTHON.exists():
        return {}
    found: dict[str, str] = json.loads(
        subprocess.run([PEERS_PYTHON, "-c", code], capture_output=True, check=True).stdout
    )
    return found
