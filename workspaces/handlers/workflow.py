"""`workflow.run`: runs the steps of a workflow as jobs, and waits for them without a worker (contract 12.4)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs import groups, job_types
from jobs.groups import Succeeded
from jobs.handlers.base import AttemptFailed, Child, ChildResult, Handler, JobContext
from jobs.handlers.fields import ObjectInput
from jobs.intents import writes_whole_file
from jobs.storable import dumps
from rauskuclaw import errors
from workspaces import files
from workspaces.faults import Missing
from workspaces.handlers.common import FILES, failing_as_jobs_do
from workspaces.paths import parse as parse_path
from workspaces.tree import Tree
from workspaces.workflows import definition, templates
from workspaces.workflows.definition import Step, Workflow

FOLDER = "workflows"
MAX_FILE_BYTES = 1_048_576
UNTRUSTED = "untrusted_text"
"""Field of a chat's input: it holds text from outside (docs/approvals.md)."""


class WorkflowInput(ObjectInput):
    """Which workflow, with which parameters."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"workflow": "nightly", "params": {"branch": "main"}}]})
    aliases = {"workflow": ("name",), "workflow_file": ("file",), "params": ("vars",)}
    required = ("workflow.run", "workflow")

    workflow: str = Field(max_length=240, description="Id of the workflow (alias `name`).")
    workflow_file: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=240)] = Field(
        "workflows.yaml", description="File under `workflows/` in the workspace (alias `file`)."
    )
    params: dict[str, Any] = Field({}, description="Values of the workflow's parameters (alias `vars`).")
    vars: dict[str, Any] = Field({}, description="Alias of `params`.")
    queue: str = Field("default", pattern=r"^[A-Za-z0-9._:-]{1,80}$", description="Queue of the steps that name none.")


class StepJob(BaseModel):
    """The job of a step."""

    step_id: str
    job_id: uuid.UUID
    type: str
    depends_on: list[uuid.UUID]


class WorkflowOutput(BaseModel):
    """What the workflow did."""

    ok: bool = True
    workflow: str
    workflow_name: str
    workflow_file: str
    created_count: int
    created_jobs: list[StepJob]
    output_text: str
    stdout: str = Field(description="The same text as output_text.")


class WorkflowRun(Handler[WorkflowInput, WorkflowOutput]):
    """Runs the steps of a workflow as jobs.

    Its steps may be on any queue, and which is only known when it runs: so keys with a queue allowlist may not make it.
    """

    id = "builtin:workflow.run"
    Input = WorkflowInput
    Output = WorkflowOutput
    needs = FILES
    reaches_all_queues = True

    def run(self, ctx: JobContext[WorkflowInput]) -> WorkflowOutput:
        """Called again after each step. Raises AttemptFailed with a code WORKFLOW_…"""
        for child in ctx.children:
            if not child.succeeded:
                raise _step_failed(child)
        # The file counts as it is when the job begins, or is retried.
        run = _Run.begun(ctx) if ctx.state is None else _Run.resumed(ctx)
        done, ready = run.look(groups.succeeded_children(ctx.job_id))
        if ready:
            run.go_on(ctx, done, ready)
        return run.output(done)


@dataclass(frozen=True)
class _Done:
    child: Succeeded
    depends_on: list[uuid.UUID]


@dataclass(frozen=True)
class _Run:
    """A workflow with what this run of it was given: that stays as it is until the job ends."""

    workflow: Workflow
    file: str
    params: Mapping[str, Any]
    queue: str

    @classmethod
    def begun(cls, ctx: JobContext[WorkflowInput]) -> _Run:
        """As the file is now. Raises AttemptFailed."""
        file, text = _read(ctx)
        workflow = definition.parse(text, ctx.input.workflow)
        ctx.log(f"Running workflow {workflow.id}", workflow_file=file, steps=len(workflow.steps))
        return cls(workflow, file, _params(workflow, {**ctx.input.vars, **ctx.input.params}), ctx.input.queue)

    @classmethod
    def resumed(cls, ctx: JobContext[WorkflowInput]) -> _Run:
        """As it was when the run began."""
        state = ctx.state
        return cls(definition.validated(state["workflow"]), state["file"], state["params"], ctx.input.queue)

    def look(self, succeeded: list[Succeeded]) -> tuple[dict[str, _Done], list[tuple[Step, Any]]]:
        """Which steps are done, and which are to run now with what input: one, or, in parallel, all that may.

        What succeeded before a retry counts if the step would be made just so again, and nothing before it was.
        """
        done: dict[str, _Done] = {}
        ready: list[tuple[Step, Any]] = []
        for step in self.workflow.in_order():
            needed = self.workflow.prerequisites(step) if self.workflow.parallel else list(done)
            if any(name not in done for name in needed):
                continue
            results = {name: it.child.result for name, it in done.items()}
            depends_on = [done[name].child.job_id for name in self.workflow.prerequisites(step)]
            wanted = _input_of(step, self.params, results, depends_on)
            may_be_old = not any(done[name].child.is_of_this_series for name in needed)
            fitting = [
                child for child in succeeded
                if (child.name, child.type) == (step.id, step.type) and child.input == wanted
                and (may_be_old or child.is_of_this_series)
            ]  # fmt: skip
            if fitting:
                done[step.id] = _Done(fitting[-1], depends_on)
            else:
                ready.append((step, wanted))
                if not self.workflow.parallel:
                    break
        return done, ready

    def go_on(
        self, ctx: JobContext[WorkflowInput], done: Mapping[str, _Done], ready: list[tuple[Step, Any]]
    ) -> NoReturn:
        """Make the jobs of these steps and wait for them."""
        names = ", ".join(step.id for step, _ in ready)
        ctx.progress(len(done) / len(self.workflow.steps), f"{names} ({len(done)} of {len(self.workflow.steps)} done)")
        ctx.spawn(
            [
                Child(
                    type=step.type, input=given, name=step.id, queue=step.queue or self.queue, priority=step.priority,
                    timeout_sec=step.timeout_sec, max_attempts=step.max_attempts, tags=step.tags,
                )
                for step, given in ready
            ],
            on_failure="collect",
            state={"workflow": self.workflow.model_dump(mode="json"), "file": self.file, "params": self.params},
        )  # fmt: skip

    def output(self, done: Mapping[str, _Done]) -> WorkflowOutput:
        """All steps are done."""
        created = [
            StepJob(step_id=name, job_id=it.child.job_id, type=it.child.type, depends_on=it.depends_on)
            for name, it in done.items()
        ]
        title = self.workflow.name or self.workflow.id
        lines = [f"Workflow {title}: {len(created)} step{'s' * (len(created) > 1)} succeeded."]
        text = "\n".join(lines + [f"- {job.step_id}: {job.type} (job {job.job_id})" for job in created])
        return WorkflowOutput(
            workflow=self.workflow.id, workflow_name=title, workflow_file=self.file, created_count=len(created),
            created_jobs=created, output_text=text, stdout=text,
        )  # fmt: skip


def _read(ctx: JobContext[WorkflowInput]) -> tuple[str, str]:
    """The path of the workflow file in the workspace, and its text. Raises AttemptFailed."""
    tree = Tree(ctx.workspace)
    given = ctx.input.workflow_file
    name = given if PurePosixPath(given).suffix else f"{given}.yaml"
    with failing_as_jobs_do():
        path = parse_path(f"{FOLDER}/{name}", root=tree.root, asked_as="workflow_file")
        try:
            _, data = files.read(tree, path, max_bytes=MAX_FILE_BYTES)
        except Missing:
            raise AttemptFailed(errors.WORKFLOW_UNKNOWN, f"there is no file {path} in the workspace") from None
    try:
        return str(path), data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AttemptFailed(errors.WORKFLOW_INVALID, f"{path} is not UTF-8 (byte {error.start})") from None


def _params(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given and, for the rest, the defaults. Raises AttemptFailed WORKFLOW_INVALID."""
    defaults = {param.name: param.default for param in workflow.params if param.default is not None}
    params = defaults | {name: value for name, value in given.items() if value is not None}
    missing = [param.name for param in workflow.params if param.required and params.get(param.name) in (None, "")]
    if missing:
        faults = [{"path": f"params.{name}", "message": "is required"} for name in missing]
        message = f"workflow {workflow.id} needs params.{', params.'.join(missing)}"
        raise AttemptFailed(errors.WORKFLOW_INVALID, message, {"errors": faults})
    return params


def _input_of(step: Step, params: Mapping[str, Any], results: Mapping[str, Any], depends_on: list[uuid.UUID]) -> Any:
    """What the step's job is given, as it will be stored."""
    filled = templates.render(step.input, params, results)
    if isinstance(filled, dict):
        if depends_on:
            filled["depends_on"] = [str(job_id) for job_id in depends_on]
        if writes_whole_file(step.type, filled):
            filled.setdefault("create_if_missing", True)
        # What other steps brought may be a page: nobody vouches for it, unless the workflow's author does.
        if templates.steps_named(step.input, list(results)) and job_types.with_input_field(UNTRUSTED, [step.type]):
            filled.setdefault(UNTRUSTED, True)
    return json.loads(dumps(filled))


def _step_failed(child: ChildResult) -> AttemptFailed:
    error = child.error or {}
    said = error.get("message") or f"it was {child.status}"
    return AttemptFailed(
        errors.WORKFLOW_STEP_FAILED,
        f"step {child.name} ({child.type}) failed: {said}",
        {"step_id": child.name, "job_id": str(child.job_id), "status": child.status, "error": error or None},
    )
