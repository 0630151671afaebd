"""The processes that jobs start: how they are run, found and killed. None of them outlives its attempt.

Four nets, each for what slips through the one before:

1. `run` kills a command's whole tree at its time limit and when its caller is interrupted.
2. A pool child is a subreaper, so daemons stay its descendants; at the end of an attempt it kills them all.
3. A command dies with the pool child that started it. What the dead child leaves behind is adopted by the worker, a
   subreaper too: `kill_adopted`.
4. Everything carries the attempt's cookie in its environment, as on CI servers: `kill_marked` finds it wherever it is.

Linux has all four. Elsewhere there is no subreaper and no parent-death signal; 1 and 4 remain.
"""

from jobs.processes.command import COMMAND_PATH, launcher, require_executable, run
from jobs.processes.family import become_subreaper, die_with_parent
from jobs.processes.hunt import ATTEMPT_VARIABLE, kill_adopted, kill_descendants, kill_marked, kill_tree

__all__ = [
    "ATTEMPT_VARIABLE",
    "COMMAND_PATH",
    "become_subreaper",
    "die_with_parent",
    "kill_adopted",
    "kill_descendants",
    "kill_marked",
    "kill_tree",
    "launcher",
    "require_executable",
    "run",
]
