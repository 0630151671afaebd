"""What a workflow file may say, and reading it: every fault is told at once, with its place in the file."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from jobs.bodies import faults_of
from jobs.handlers.base import AttemptFailed
from rauskuclaw import errors
from rauskuclaw.patterns import QUEUE
from workspaces.workflows import templates

OWN_TYPE = "workflow.run"
MAX_STEPS = 100
MAX_NODES = 50_000
"""Values in a file, an alias counted as often as it is used: a few lines of aliases could stand for billions."""

StepId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._:-]{1,80}$")]


class Param(BaseModel):
    """A value that a run is given."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1, max_length=120)
    required: bool = False
    default: Any = None


class Step(BaseModel):
    """A job of the workflow."""

    model_config = ConfigDict(frozen=True)

    id: StepId
    type: str = Field(min_length=1, max_length=80)
    input: Any = Field(default_factory=dict)
    depends_on: tuple[StepId, ...] = ()
    queue: str | None = Field(None, pattern=f"(?i)^(?:{QUEUE.pattern})$")
    priority: int = Field(5, ge=0, le=10)
    timeout_sec: int = Field(120, ge=1, le=3600)
    max_attempts: int = Field(1, ge=1, le=10)
    tags: tuple[str, ...] = Field(max_length=20)


class Workflow(BaseModel):
    """One definition: its steps in the order of the file."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str = Field("", max_length=200)
    description: str = Field("", max_length=4000)
    params: tuple[Param, ...] = Field((), max_length=100)
    parallel: bool = False
    """Whether steps that do not depend on each other run at once, instead of one after another."""
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MAX_STEPS)
    """In the file also `jobs`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise PydanticCustomError("workflow", "a workflow is a map with `steps`")
        given = {str(name): content for name, content in value.items() if content is not None}
        steps = given.pop("jobs", None) if "steps" not in given else given["steps"]
        if isinstance(steps, list):
            steps = [_filled_step(step, n, given["id"]) for n, step in enumerate(steps, start=1)]
        return given if steps is None else {**given, "steps": steps}

    @model_validator(mode="after")
    def _agree(self) -> Workflow:
        known = [step.id for step in self.steps]
        faults = [f"the step id {id_!r} is used twice" for id_ in dict.fromkeys(known) if known.count(id_) > 1]
        for step in self.steps:
            unknown = [name for name in step.depends_on if name not in known]
            faults += [f"step {step.id!r} depends on {name!r}, which is no step" for name in unknown]
            if step.type == OWN_TYPE:
                faults.append(f"step {step.id!r} is itself a {OWN_TYPE}: write its steps into this workflow")
        if not faults and (circle := self._circle()):
            faults.append(f"the steps wait for each other in a circle: {' → '.join(circle)}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def prerequisites(self, step: Step) -> list[str]:
        """Ids of the steps whose jobs must have succeeded before it, in the order of the file.

        Where steps run at once, also those whose results its templates name.
        """
        named = set(step.depends_on)
        if self.parallel:
            named |= templates.steps_named(step.input, [other.id for other in self.steps])
        return [other.id for other in self.steps if other.id in named]

    def in_order(self) -> list[Step]:
        """The steps as they run one after another: as in the file, but for what must come before."""
        ordered: list[Step] = []
        while len(ordered) < len(self.steps):
            before = {step.id for step in ordered}
            ordered.append(
                next(it for it in self.steps if it.id not in before and before.issuperset(self.prerequisites(it)))
            )
        return ordered

    def _circle(self) -> list[str]:
        try:
            TopologicalSorter({step.id: self.prerequisites(step) for step in self.steps}).prepare()
        except CycleError as error:
            return list(reversed(error.args[1]))
        return []


def _filled_step(step: Any, number: int, workflow_id: Any) -> Any:
    if not isinstance(step, Mapping):
        return step
    given = {str(name): content for name, content in step.items() if content is not None}
    return {"id": f"step_{number}", "tags": ["workflow", str(workflow_id)], **given}


def parse(text: str, workflow_id: str) -> Workflow:
    """The workflow `workflow_id` of a file. Raises AttemptFailed WORKFLOW_INVALID, WORKFLOW_UNKNOWN."""
    document = _loaded(text)
    if not isinstance(document, Mapping) or not document:
        raise _invalid("the file is empty, or is no map of workflows")
    _count_nodes(document)
    workflows = document.get("workflows")
    if workflows is None:
        found: Any = document
    elif isinstance(workflows, Mapping):
        if workflow_id not in workflows:
            known = ", ".join(sorted(str(name) for name in workflows)[:20])
            raise AttemptFailed(errors.WORKFLOW_UNKNOWN, f"there is no workflow {workflow_id!r}; the file has: {known}")
        found = workflows[workflow_id]
    else:
        raise _invalid("`workflows` is no map of id → workflow")
    return validated({**found, "id": workflow_id} if isinstance(found, Mapping) else found)


def validated(document: Any) -> Workflow:
    """A definition as it is written or as it was stored. Raises AttemptFailed WORKFLOW_INVALID."""
    try:
        return Workflow.model_validate(_jsonable(document))
    except ValidationError as error:
        faults = faults_of(error)
        message = "; ".join(f"{it['path']}: {it['message']}" if it["path"] else it["message"] for it in faults[:5])
        raise _invalid(message, faults) from None


def _jsonable(document: Any) -> Any:
    """Only JSON's types: a date in YAML is its text. Raises AttemptFailed."""
    try:
        return json.loads(json.dumps(document, default=str, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"the file holds what JSON cannot: {error}") from None


def _invalid(message: str, faults: Iterable[Mapping[str, Any]] = ()) -> AttemptFailed:
    return AttemptFailed(errors.WORKFLOW_INVALID, message, {"errors": list(faults)} if faults else None)


class _Loader(yaml.SafeLoader):
    """Safe, and no key may be there twice: YAML's own answer is that the last one silently wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A map, its keys all different."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                problem = f"the key {key!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _loaded(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise _invalid(f"the file is no YAML: {' '.join(str(error).split())[:400]}") from None
    except (RecursionError, ValueError) as error:
        raise _invalid(f"the file cannot be read: {type(error).__name__}") from None


def _count_nodes(document: Any) -> None:
    """Raises AttemptFailed where the document has too many values, without ever unfolding it."""
    waiting, count = [document], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MAX_NODES:
            raise _invalid(f"the file has more than {MAX_NODES:,} values")
        if isinstance(node, Mapping):
            waiting.extend(node.values())
        elif isinstance(node, list | tuple | set):
            waiting.extend(node)
