"""Removing the drafts that nobody will publish: those of processes that were killed while they wrote."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress

from workspaces.faults import WorkspaceFault
from workspaces.paths import DRAFT_PREFIX, ROOT, WorkspacePath
from workspaces.tree import Tree, remove_tree
from workspaces.walk import Clock, walk

logger = logging.getLogger(__name__)

ABANDONED_SEC = 86_400
"""No upload takes longer: a client that stands still is cut off after a minute."""
SWEEP_SEC = 2.0
"""How long one sweep looks around: the worker that runs it has a heartbeat to keep."""
LOOKED_AT_MOST = 50_000


def sweep(tree: Tree) -> int:
    """Remove drafts that nobody has touched for a day, and directories put aside for deletion; how many.

    The workspace itself, where uploads wait, is always looked at; what is beneath it as far as time allows.
    """
    clock = Clock.of(SWEEP_SEC)
    removed = _sweep_directory(tree, ROOT)
    for entry in walk(tree, ROOT, include_hidden=True, most=LOOKED_AT_MOST):
        if clock.is_over:
            break
        if entry.kind == "dir":
            removed += _sweep_directory(tree, entry.path)
    if removed:
        logger.info("removed %d unfinished files from the workspace", removed)
    return removed


def _sweep_directory(tree: Tree, path: WorkspacePath) -> int:
    removed = 0
    with suppress(WorkspaceFault, OSError), tree.directory(path) as fd, os.scandir(fd) as found:
        for item in found:
            if item.name.startswith(DRAFT_PREFIX) and _is_abandoned(item.stat(follow_symlinks=False)):
                if item.is_dir(follow_symlinks=False):
                    remove_tree(fd, item.name)
                else:
                    os.unlink(item.name, dir_fd=fd)
                removed += 1
    return removed


def _is_abandoned(info: os.stat_result) -> bool:
    return time.time() - max(info.st_mtime, info.st_ctime) > ABANDONED_SEC
