"""Where a job, an attempt and a limit may stand."""

from __future__ import annotations

from django.db import models


class Status(models.TextChoices):
    """Where a job is in its life. The last three are terminal: nothing but an operator's retry leaves them."""

    QUEUED = "queued", "Queued"
    """Waits: for its turn, a dependency or `available_at`. The dispatcher and a worker's claim move it on."""
    RUNNING = "running", "Running"
    """A worker holds its lease. The worker moves it on, or the reconciler when the lease expires."""
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL

    @classmethod
    def open(cls) -> list[Status]:
        """Those that are not terminal."""
        return [cls.QUEUED, cls.RUNNING]


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class Outcome(models.TextChoices):
    """How one attempt ended."""

    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    TIMED_OUT = "timed_out", "Timed out"
    CANCELLED = "cancelled", "Cancelled"
    LOST = "lost", "Worker lost"
    SUSPENDED = "suspended", "Waits for children"
    """It made children; another attempt goes on when they have ended. Takes none of `max_attempts`."""
    UNBEGUN = "unbegun", "Given back unbegun"
    """It was claimed with others, and its turn never came. Takes none of `max_attempts`, and of no rate."""


class OnLimit(models.TextChoices):
    """What a new job does when as many jobs of its type and concurrency key exist as may run at once."""

    WAIT = "wait", "Wait for its turn"
    CANCEL_RUNNING = "cancel_running", "Cancel the oldest of them"
    DROP_NEW = "drop_new", "Is cancelled itself"


class OnFailure(models.TextChoices):
    """What a job does when one of the children it waits for fails for good or is cancelled."""

    FAIL = "fail", "Fails, and its other children are cancelled"
    COLLECT = "collect", "Goes on when all have ended"
