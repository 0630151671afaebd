"""What the kernel does for parents and children: Linux's prctl(2)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def _find_prctl() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None).prctl
    function.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    found: Callable[..., int] = function
    return found


# Found at import, because a forked child of a process with threads must not load libraries.
_prctl = _find_prctl()


def become_subreaper() -> bool:
    """Adopt the orphans among this process's descendants, instead of leaving them to init. False where impossible."""
    return _prctl is not None and _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with_parent(parent_pid: int | None = None) -> bool:
    """Have the kernel SIGKILL this process when the thread that forked it ends. False where impossible.

    parent_pid: the expected parent. If it is already gone (it died before this call), this process ends at once;
    without it, only a parent whose children went to init is noticed.
    """
    if _prctl is None or _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return False
    orphaned = os.getppid() == 1 if parent_pid is None else os.getppid() != parent_pid
    if orphaned:
        os.kill(os.getpid(), signal.SIGKILL)
    return True
