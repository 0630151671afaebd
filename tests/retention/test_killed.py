"""Killed in the middle of a run, again and again: no job is left with a part of what was its, and none is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs.models import Attempt, Job, JobLog
from jobs.retention import run
from jobs.retention.models import PrunedJobs
from rauskuclaw.config import ROOT
from tests.bench import history
from tests.retention.conftest import sql

pytestmark = pytest.mark.django_db(transaction=True)
JOBS = 6_000
KILLS = 4


def database_url() -> str:
    there: Any = connection.settings_dict
    return f"postgresql://{there['USER']}:{there['PASSWORD']}@{there['HOST']}:{there['PORT']}/{there['NAME']}"


def halves() -> dict[str, int]:
    """What belongs to a job that is gone, and jobs that miss what was theirs. Their logs may have gone by partition."""
    counts = {
        "attempts without a job": "SELECT count(*) FROM jobs_attempt a WHERE NOT EXISTS"
        " (SELECT FROM jobs_job j WHERE j.id = a.job_id)",
        "lines without a job": "SELECT count(*) FROM jobs_joblog l WHERE NOT EXISTS"
        " (SELECT FROM jobs_job j WHERE j.id = l.job_id)",
        "jobs without their attempt": "SELECT count(*) FROM jobs_job j WHERE NOT EXISTS"
        " (SELECT FROM jobs_attempt a WHERE a.job_id = j.id)",
        "jobs without all their lines": "SELECT count(*) FROM jobs_job j WHERE 3 <>"
        " (SELECT count(*) FROM jobs_joblog l WHERE l.job_id = j.id AND l.job_created_at = j.created_at)",
    }
    return {what: sql(statement)[0][0] for what, statement in counts.items()}


def test_a_run_that_is_killed_leaves_nothing_half_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    # In the default partition, so that lines go with their jobs and not before.
    history.load(database_url(), JOBS, before=timezone.now() - timedelta(days=200))
    luck = random.Random(1)
    pruned: list[int] = []

    for _number in range(KILLS):
        before = Job.objects.count()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "retention"], cwd=ROOT, env=_environment(), stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        _until_it_deletes(before, process)
        time.sleep(luck.uniform(0, 0.3))
        process.kill()
        process.wait()
        _until_its_connection_is_gone()
        pruned.append(before - Job.objects.count())
        assert halves() == dict.fromkeys(halves(), 0)
        assert sum(PrunedJobs.objects.values_list("count", flat=True)) == JOBS - Job.objects.count()
        if not Job.objects.exists():
            break

    monkeypatch.setattr(run, "REST_SHARE", 0.0)
    report = run.run()
    assert 0 < pruned[0] < JOBS
    assert report is not None, "the lock of a killed run is gone with it"
    assert not Job.objects.exists()
    assert not Attempt.objects.exists()
    assert not JobLog.objects.exists()


def _environment() -> dict[str, str]:
    return os.environ | {"DATABASE_URL": database_url(), "WORKER_ID": uuid.uuid4().hex}


def _until_it_deletes(before: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and Job.objects.count() == before:
        time.sleep(0.01)


def _until_its_connection_is_gone() -> None:
    while sql(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )[0][0]:
        time.sleep(0.02)
