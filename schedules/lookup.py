"""Finding a schedule by what people type: its name, or the beginning of its id."""

from __future__ import annotations

from django.db.models import Q

from jobs.lookup import id_range
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from schedules.models import Schedule


def schedule_by_words(text: str) -> Schedule:
    """The one schedule that is called so. Raises Problem NOT_FOUND, or CONFLICT naming some when there are several."""
    ids = id_range(text)
    wanted = Q(name=text) if ids is None else Q(name=text) | Q(id__range=ids)
    found = list(Schedule.objects.filter(wanted).order_by("id")[:5])
    if not found:
        raise Problem(errors.NOT_FOUND, f"no schedule has the name {text!r}, or an id that begins so")
    if len(found) > 1:
        named = [str(schedule.id) for schedule in found]
        raise Problem(errors.CONFLICT, f"several schedules are {text!r}: {', '.join(named)}", {"ids": named})
    return found[0]
