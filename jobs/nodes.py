"""Which workers and beats live: those that said so lately, unless this machine knows better."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.dispatch import NODE_TTL_SEC
from jobs.models import Node


@cache
def host_identity() -> str:
    """This machine, boot and process namespace: where a pid means what it says."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{socket.gethostname()}/{boot.read_text('ascii').strip()}/{namespace.stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}"


def this_process() -> dict[str, Any]:
    """The columns of a node that identify the calling process."""
    return {"host": host_identity(), "pid": os.getpid(), "pid_created_at": _own_birth(os.getpid())}


def is_gone(node: Node) -> bool:
    """Whether it is a process of this machine that runs no more, however lately it was seen. Of others nobody knows."""
    if node.host != host_identity():
        return False
    try:
        return abs(psutil.Process(node.pid).create_time() - node.pid_created_at) >= 1.0
    except psutil.NoSuchProcess:
        return True


def is_alive(node: Node, now: datetime) -> bool:
    """Whether it has said so lately and is not known to be gone."""
    return (now - node.seen_at).total_seconds() <= NODE_TTL_SEC and not is_gone(node)


def alive(nodes: QuerySet[Node]) -> list[Node]:
    """Those of `nodes` that live, by the clock of the database, which noted when they were seen."""
    seen_lately = nodes.filter(seen_at__gte=Now() - timedelta(seconds=NODE_TTL_SEC))
    return [node for node in seen_lately if not is_gone(node)]


@cache
def _own_birth(pid: int) -> float:
    return psutil.Process(pid).create_time()
