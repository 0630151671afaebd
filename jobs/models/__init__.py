"""Jobs and what belongs to them: columns and constraints. What changes a status is `jobs/lifecycle.py`, alone."""

from jobs.approvals import models as _approvals  # noqa: F401 - Django finds them through this package
from jobs.models.job import SUSPENDED, Job, JobDependency, JobGroup, LargeResult
from jobs.models.node import BEAT_NODE, Node
from jobs.models.records import COUNTED_LINES, Attempt, CallbackDelivery, IdempotencyKey, JobLog
from jobs.models.settings import JobType, Queue
from jobs.models.states import TERMINAL, OnFailure, OnLimit, Outcome, Status
from jobs.retention import models as _retention  # noqa: F401 - likewise

__all__ = [
    "BEAT_NODE", "COUNTED_LINES", "SUSPENDED", "TERMINAL", "Attempt", "CallbackDelivery", "IdempotencyKey", "Job",
    "JobDependency", "JobGroup", "JobLog", "JobType", "LargeResult", "Node", "OnFailure", "OnLimit", "Outcome", "Queue",
    "Status",
]  # fmt: skip
