"""Finding jobs by what people type: a whole id, or the beginning of one."""

from __future__ import annotations

import re
import uuid

from jobs.models import Job
from rauskuclaw import errors
from rauskuclaw.errors import Problem

MIN_PREFIX_CHARS = 4
_NAMED = 5
_PREFIX = re.compile(r"[0-9a-f]{4,32}")


def id_range(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """The first and last id that begin with `text` (hex digits, dashes as one likes); None if it is no such beginning.

    A range, because Postgres finds it in the primary key's index, unlike a LIKE on the id's text.
    """
    digits = text.strip().lower().replace("-", "")
    if not _PREFIX.fullmatch(digits):
        return None
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))


def job_by_prefix(text: str) -> Job:
    """The one job whose id begins with `text`.

    Raises Problem VALIDATION_ERROR (too short, not hex), NOT_FOUND, or CONFLICT naming some when it fits several.
    """
    if (found := id_range(text)) is None:
        message = f"{text!r} is no job id: give at least the first {MIN_PREFIX_CHARS} of its hex digits"
        raise Problem(errors.VALIDATION_ERROR, message)
    jobs = list(Job.objects.filter(id__range=found).order_by("id")[: _NAMED + 1])
    if not jobs:
        raise Problem(errors.NOT_FOUND, f"no job's id begins with {text}: `manage.py jobs list` shows the newest ones")
    if len(jobs) > 1:
        named = [str(job.id) for job in jobs[:_NAMED]]
        more = " and others" if len(jobs) > _NAMED else ""
        raise Problem(
            errors.CONFLICT, f"{text} begins several ids, give more of it: {', '.join(named)}{more}", {"ids": named}
        )
    return jobs[0]
