"""Workflows: real attempts of real steps, one after another, on a real database and a real workspace."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import lifecycle
from jobs.handlers import registry
from jobs.handlers.base import AttemptFailed, Handler, JobContext
from jobs.job_types import seed
from jobs.models import Job
from rauskuclaw import errors
from rauskuclaw.config import ROOT
from tests.apiclient import GPU_ONLY, Api
from tests.conftest import error_of
from tests.jobs.test_groups import Number, children, now, run, run_all
from workspaces.workflows import definition

pytestmark = pytest.mark.django_db(transaction=True)
Start = Callable[..., Job]


class Add(Handler[Number, Number]):
    """Adds one; fails while it is told to."""

    id = "test:add"
    Input = Number
    Output = Number
    fails_at: int | None = None
    ran: list[int]

    def run(self, ctx: JobContext[Number]) -> Number:
        type(self).ran.append(ctx.input.n)
        if ctx.input.n == type(self).fails_at:
            raise AttemptFailed(errors.POLICY_DENIED, f"not {ctx.input.n}")
        return Number(n=ctx.input.n + 1)


@pytest.fixture
def write(root: Path) -> Callable[..., None]:
    """`write(yaml, name="workflows.yaml")` into the workspace's `workflows/`."""

    def write_it(text: str, name: str = "workflows.yaml") -> None:
        (root / "workflows").mkdir(exist_ok=True)
        (root / "workflows" / name).write_text(textwrap.dedent(text))

    return write_it


@pytest.fixture
def start(make_job: Any, make_type: Any, root: Path, configure: Any, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`start(**input)`: the workflow's job, after all that could run has run."""
    configure(WORKSPACE_ROOT=root, DATA_FILE_READ_ENABLED=1, DATA_FILE_WRITE_ENABLED=1)
    seed()
    monkeypatch.setitem(registry.installed(), Add.id, Add())
    monkeypatch.setattr(Add, "ran", [], raising=False)
    monkeypatch.setattr(Add, "fails_at", None)
    make_type("add", handler=Add.id)

    def start_it(workflow: str = "w", **given: Any) -> Job:
        job: Job = make_job("workflow.run", input={"workflow": workflow, **given})
        run_all()
        return now(job)

    return start_it


def result_of(job: Job) -> dict[str, Any]:
    assert job.result is not None
    return dict(job.result)


def steps_of(job: Job) -> list[tuple[str, str]]:
    return [(child.child_name, child.status) for child in children(job)]


def test_steps_run_one_after_another_and_see_what_those_before_gave(write: Any, start: Start, root: Path) -> None:
    write("""
        workflows:
          w:
            name: Notes
            params:
              - {name: who, required: true}
              - {name: greeting, default: Hello}
            steps:
              - id: note
                type: data.write_file
                input: {path: out.txt, content: "${greeting}, ${who}!\\n"}
              - id: back
                type: data.file_read
                depends_on: [note]
                input: {path: "${note.path}"}
              - type: data.write_file
                input:
                  {path: copy.txt, mode: append, content: "read ${back.bytes_read}: ${back.content_text}${no.such}"}
    """)

    job = start(params={"who": "Ada"})

    assert job.status == "succeeded", job.error
    assert (root / "copy.txt").read_text() == "read 12: Hello, Ada!\n"
    note, back, third = children(job)
    assert [child.child_name for child in (note, back, third)] == ["note", "back", "step_3"]
    assert back.input == {"path": "out.txt", "depends_on": [str(note.id)]}
    assert third.input == {
        "create_if_missing": True,
        "mode": "append",
        "path": "copy.txt",
        "content": "read 12: Hello, Ada!\n",
    }
    assert (note.tags, note.priority, note.timeout_sec, note.queue) == (["workflow", "w"], 5, 120, "default")
    result = result_of(job)
    assert (result["ok"], result["workflow"], result["workflow_name"], result["created_count"]) == (
        True,
        "w",
        "Notes",
        3,
    )
    assert result["workflow_file"] == "workflows/workflows.yaml"
    assert result["created_jobs"][1] == {
        "step_id": "back", "job_id": str(back.id), "type": "data.file_read", "depends_on": [str(note.id)],
    }  # fmt: skip
    assert result["output_text"] == result["stdout"]
    assert "step_3: data.write_file" in result["stdout"]


def test_a_step_is_given_a_result_that_is_kept_apart(write: Any, start: Start, root: Path, configure: Any) -> None:
    write("""
        steps:
          - {id: back, type: data.file_read, input: {path: large.txt}}
          - {type: data.write_file, input: {path: copy.txt, content: "${back.content_text}"}}
    """)
    configure(RESULT_INLINE_MAX_BYTES=1024)
    (root / "large.txt").write_text("x" * 5000)

    job = start()

    assert job.status == "succeeded", job.error
    assert children(job)[0].result_size_bytes is not None
    assert (root / "copy.txt").read_text() == "x" * 5000


def test_a_step_waits_for_what_it_depends_on_wherever_it_stands(write: Any, start: Start) -> None:
    write("""
        jobs:
          - {id: second, type: add, depends_on: [first], input: {n: "${first.n}"}}
          - {id: first, type: add, input: {n: 1}}
    """)

    job = start("anything", queue="elsewhere")

    assert (job.status, Add.ran) == ("succeeded", [1, 2])
    assert {child.queue for child in children(job)} == {"elsewhere"}


def test_parallel_steps_run_at_once_and_wait_for_the_results_they_name(write: Any, start: Start) -> None:
    write("""
        workflows:
          w:
            parallel: true
            steps:
              - {id: sum, type: add, input: {n: "${b.n}"}}
              - {id: a, type: add, input: {n: 10}}
              - {id: b, type: add, input: {n: 20}}
    """)

    job = start()

    assert job.status == "succeeded"
    assert [(child.child_name, child.group.phase if child.group else 0) for child in children(job)] == [
        ("a", 1), ("b", 1), ("sum", 2),
    ]  # fmt: skip
    assert Add.ran == [10, 20, 21]


WORKFLOW = """
    workflows:
      w:
        steps:
          - {id: one, type: add, input: {n: 1}}
          - {id: two, type: add, input: {n: "${one.n}"}}
          - {id: three, type: add, input: {n: "${two.n}"}}
"""


def test_a_failed_step_stops_the_workflow_and_a_retry_goes_on_from_it(write: Any, start: Start) -> None:
    write(WORKFLOW)
    Add.fails_at = 2

    job = start()
    assert job.status == "failed"
    assert error_of(job)["code"] == "WORKFLOW_STEP_FAILED"
    assert error_of(job)["message"] == "step two (add) failed: not 2"
    assert error_of(job)["details"]["error"]["code"] == "POLICY_DENIED"
    assert steps_of(job) == [("one", "succeeded"), ("two", "failed")]
    Add.fails_at = None
    lifecycle.reopen(job.id, by="tests")
    run_all()

    job = now(job)
    assert job.status == "succeeded"
    assert Add.ran == [1, 2, 2, 3]
    assert result_of(job)["created_count"] == 3
    assert result_of(job)["created_jobs"][0]["job_id"] == str(children(job)[0].id)


def test_a_retry_runs_again_what_has_changed_and_all_that_follows(write: Any, start: Start) -> None:
    write(WORKFLOW)
    Add.fails_at = 3
    job = start()
    assert Add.ran == [1, 2, 3]
    # The first step is another, though its result is the same; the second would be made just so again.
    write(WORKFLOW.replace("input: {n: 1}", "queue: gpu, tags: [x], input: {n: 1, label: new}"))
    Add.fails_at = None
    lifecycle.reopen(job.id, by="tests")
    run_all()

    assert now(job).status == "succeeded"
    assert Add.ran == [1, 2, 3, 1, 2, 3]


def test_the_file_counts_as_it_was_when_the_run_began(
    write: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(WORKFLOW)
    original = Add.run

    def edit_and_run(self: Add, ctx: JobContext[Number]) -> Number:
        write("workflows: {w: {steps: [{type: add, input: {n: 100}}]}}")
        return original(self, ctx)

    monkeypatch.setattr(Add, "run", edit_and_run)

    assert start().status == "succeeded"
    assert Add.ran == [1, 2, 3]


def test_a_cancelled_step_fails_the_workflow(write: Any, make_job: Any, start: Start) -> None:
    write(WORKFLOW)
    job = make_job("workflow.run", input={"workflow": "w"})
    run(job)
    lifecycle.cancel(children(job)[0].id, by="tests")
    run_all()

    assert error_of(now(job))["code"] == "WORKFLOW_STEP_FAILED"
    assert error_of(now(job))["details"]["status"] == "cancelled"


INVALID = {
    "no steps": ("workflows: {w: {name: x}}", "steps"),
    "empty": ("", "empty"),
    "a list": ("[1]", "no map"),
    "no YAML": ("a: [", "no YAML"),
    "a key twice": ("workflows: {w: {steps: [{type: add, type: add}]}}", "twice"),
    "an id twice": ("steps: [{id: a, type: add}, {id: a, type: add}]", "'a' is used twice"),
    "unknown dependency": ("steps: [{id: a, type: add, depends_on: [b]}]", "depends on 'b'"),
    "a circle": (
        "steps: [{id: a, type: add, depends_on: [b]}, {id: b, type: add, depends_on: [a]}]", "in a circle",
    ),
    "a circle of templates": (
        'parallel: true\nsteps: [{id: a, type: add, input: "${b.x}"}, {id: b, type: add, input: "${a}"}]',
        "in a circle",
    ),
    "itself": ("steps: [{id: a, type: workflow.run}]", "itself"),
    "too many": ("steps: [" + "{type: add}, " * 101 + "]", "100"),
    "a bad id": ("steps: [{id: 'a b', type: add}]", "id"),
    "a bad priority": ("steps: [{type: add, priority: 11}]", "priority"),
    "a bad queue": ("steps: [{type: add, queue: 'no spaces'}]", "queue"),
    "a value that JSON lacks": ("steps: [{type: add, input: {n: .nan}}]", "JSON"),
    "aliases by the billion": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
        "50,000 values",
    ),
    "code": ("steps: !!python/object/apply:os.system ['true']", "no YAML"),
    "a missing parameter": ("params: [{name: p, required: true}]\nsteps: [{type: add}]", "params.p"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_a_fault_in_the_file_is_told(write: Any, start: Start, name: str) -> None:
    text, said = INVALID[name]
    write(text)

    error = error_of(start())

    assert error["code"] == "WORKFLOW_INVALID"
    assert said in error["message"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"workflow": "other"}, "WORKFLOW_UNKNOWN"),
        ({"workflow_file": "missing"}, "WORKFLOW_UNKNOWN"),
        ({"workflow_file": "../outside.yaml"}, "POLICY_DENIED"),
        ({"workflow_file": "/etc/passwd"}, "WORKFLOW_UNKNOWN"),
        ({"workflow_file": "link.yaml"}, "POLICY_DENIED"),
    ],
)
def test_only_files_of_the_folder_are_read(
    write: Any, start: Start, root: Path, outside: Path, given: dict[str, str], code: str
) -> None:
    write(WORKFLOW)
    (root / "outside.yaml").write_text("steps: [{type: add}]")
    (root / "workflows" / "link.yaml").symlink_to(outside / "secret.txt")

    error = error_of(start(**given))

    assert error["code"] == code, error
    assert "secret" not in str(error)


def test_a_step_that_no_job_could_be_is_told_with_its_name(write: Any, start: Start) -> None:
    write("steps: [{id: odd, type: no.such.type}]")

    error = error_of(start())

    assert error["code"] == "CHILD_INVALID"
    assert "no.such.type" in error["message"]


def test_the_tree_shows_the_steps(write: Any, start: Start, api: Api) -> None:
    write(WORKFLOW)
    job = start()

    tree = api.get(f"/v1/jobs/{job.id}/tree").json["tree"]

    assert [(child["name"], child["status"]) for child in tree["children"]] == [
        ("one", "succeeded"), ("two", "succeeded"), ("three", "succeeded"),
    ]  # fmt: skip


def test_a_key_with_a_queue_allowlist_may_not_run_workflows(start: Start, api: Api) -> None:
    new = {"type": "workflow.run", "queue": "gpu", "input": {"workflow": "w", "queue": "gpu"}}

    answer = api.post("/v1/jobs", new, key=GPU_ONLY)

    assert (answer.status, answer.code) == (403, "FORBIDDEN")


def test_the_manuals_example_is_a_workflow() -> None:
    text = (ROOT / "docs" / "workflows.md").read_text("utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]

    workflow = definition.parse(example, "nightly")

    assert [step.id for step in workflow.steps] == ["test", "report", "step_3"]
    assert workflow.prerequisites(workflow.steps[1]) == ["test"]
