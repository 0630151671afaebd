"""A small `make chaos`: every kind of fault at least once, about two minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.plan import make_plan
from tests.chaos.run import fault_names, run

JOBS = 600
SEED = int(os.environ.get("CHAOS_SEED", "1"))


def test_a_seed_says_it_all() -> None:
    assert make_plan(jobs=50, seed=SEED, faults=["a", "b"]) == make_plan(jobs=50, seed=SEED, faults=["a", "b"])
    assert make_plan(jobs=50, seed=SEED, faults=["a", "b"]) != make_plan(jobs=50, seed=SEED + 1, faults=["a", "b"])


def test_a_small_run_meets_every_kind_of_fault() -> None:
    plan = make_plan(jobs=JOBS, seed=SEED, faults=fault_names())

    assert {fault.name for fault in plan.faults} == set(fault_names())


@pytest.mark.stack
@pytest.mark.xdist_group("stack")
@pytest.mark.timeout(420)
def test_nothing_is_lost_while_everything_is_killed(tmp_path: Path) -> None:
    """CHAOS_SEED=N repeats a run that failed elsewhere."""
    outcome = run(jobs=JOBS, seed=SEED, folder=tmp_path / "chaos")

    assert outcome.findings == [], f"seed {SEED}"
    assert len(outcome.evidence.jobs) > JOBS * 0.8, "the run was not one"
