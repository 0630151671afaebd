"""`workflow.run`: its input (contract 12.4). Running workflows comes with a later version."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs.handlers.base import Needs, UnavailableHandler
from jobs.handlers.fields import ObjectInput


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


class WorkflowOutput(BaseModel):
    """What the workflow did."""

    ok: bool = True
    workflow: str
    workflow_name: str
    workflow_file: str
    created_count: int
    created_jobs: list[dict[str, Any]]
    output_text: str
    stdout: str = Field(description="The same text as output_text.")


class WorkflowRun(UnavailableHandler[WorkflowInput, WorkflowOutput]):
    """Runs the steps of a workflow as jobs."""

    id = "builtin:workflow.run"
    Input = WorkflowInput
    Output = WorkflowOutput
    needs = Needs(files=True)
