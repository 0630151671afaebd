"""`jobs.bulk`: cancels or retries the jobs that a filter finds. `jobs/bulk.py` makes and `jobs/bulk_run.py` does it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from jobs.handlers.base import Handler, JobContext

Action = Literal["cancel", "retry"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Moment = Annotated[datetime, AfterValidator(lambda it: it if it.tzinfo else it.replace(tzinfo=UTC))]

STATUSES: dict[Action, tuple[str, ...]] = {"cancel": ("queued", "running"), "retry": ("failed", "cancelled")}
"""Jobs of which status an action can be done to."""


class BulkFilter(BaseModel):
    """Which jobs: the filters of the list."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["queued", "running", "failed", "cancelled"] | None = None
    type: Text | None = None
    queue: Text | None = None
    tag: Text | None = None
    q: Text | None = Field(None, description="Searches type, tags and input for this text.")
    error_code: Text | None = None
    since: Moment | None = Field(None, description="Created at or after.")
    until: Moment | None = Field(None, description="Created before.")

    @model_validator(mode="after")
    def _narrows(self) -> BulkFilter:
        if not self.model_dump(exclude_none=True):
            raise ValueError('needs at least one field; {"status": "queued"} is every queued job')
        return self


class BulkInput(BaseModel):
    """What to do with which jobs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"action": "retry", "filter": {"error_code": "UPSTREAM_ERROR"}}]},
    )

    action: Action = Field(description="What is done to each of the jobs.")
    filter: BulkFilter = Field(description="Which jobs: at least one of its fields.")
    queues: list[str] | None = Field(None, description="Only jobs on these queues; null: on any.")

    @field_validator("filter")
    @classmethod
    def _fits_the_action(cls, value: BulkFilter, info: ValidationInfo) -> BulkFilter:
        if "action" in info.data and (fault := status_fault(info.data["action"], value)):
            raise ValueError(fault)
        return value


def status_fault(action: Action, wanted: BulkFilter) -> str | None:
    """What is wrong with the status that a filter names, if anything: an action needs jobs it can be done to."""
    if wanted.status is None or wanted.status in STATUSES[action]:
        return None
    return f"only {' or '.join(STATUSES[action])} jobs can be the object of {action}"


class Fault(BaseModel):
    """A job that could not be cancelled or retried, and why."""

    job_id: str
    message: str


class BulkOutput(BaseModel):
    """What became of the jobs. After a kill, up to a batch of `done` may be missing: those done and not yet noted."""

    action: Action
    done: int
    skipped: int = Field(description="Jobs that had moved on by themselves when their turn came.")
    failed: int = Field(description="Jobs that could not be retried; `faults` names the first of them.")
    faults: list[Fault] = []


class JobsBulk(Handler[BulkInput, BulkOutput]):
    """Cancels or retries every job that its filter finds and that is older than its own.

    What is done no longer fits the filter, and what was made or failed later never does. So a second attempt goes on
    where the first was killed, and nothing is done twice.
    """

    id = "builtin:jobs.bulk"
    Input = BulkInput
    Output = BulkOutput
    reaches_all_queues = True

    def run(self, ctx: JobContext[BulkInput]) -> BulkOutput:
        """Do it; the job's own row says on whose behalf."""
        # Handlers are imported where Django is not set up, and this one alone is made of the jobs' own models.
        from jobs.bulk_run import BulkRun

        return BulkRun(ctx).run()
