"""How often Python looks for garbage in cycles, in processes that import much and live long."""

from __future__ import annotations

import gc

YOUNG = 5_000
"""Objects made and not yet gone, between two looks at them. A request makes some hundreds that it needs to its end, so
with Python's 700 nearly every request paid for a look, and every seventieth for one at all there is."""


def keep_what_is_imported() -> None:
    """Never look through what is there now, and seldom at the rest: modules and their classes stay for good.

    Processes that are forked from this one share that memory for as long as nobody looks through it.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
