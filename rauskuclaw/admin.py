"""django-celery-beat's pages in the admin's theme, with their changes in the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from access.admin import Audited


class TaskSelect(UnfoldAdminSelectWidget, beat.TaskSelectWidget):  # type: ignore[misc]
    """The Celery tasks that exist."""


class PeriodicTaskForm(beat.PeriodicTaskForm):  # type: ignore[misc]
    """beat's form, dressed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "task" in self.fields:
            self.fields["task"].widget = UnfoldAdminTextInputWidget()
            self.fields["regtask"].widget = TaskSelect()


class PeriodicTaskAdmin(beat.PeriodicTaskAdmin, Audited):  # type: ignore[misc]
    """What beat rings. Without the bulk actions, which would change tasks past the audit log."""

    form = PeriodicTaskForm
    actions = ()
    list_display = ["name", "task", "enabled", "scheduler", "last_run_at"]
    list_filter = ["enabled"]
    date_hierarchy = None


class CrontabScheduleAdmin(beat.CrontabScheduleAdmin, Audited):  # type: ignore[misc]
    """beat's page, dressed."""

    inlines = ()


for model, page in (
    (PeriodicTask, PeriodicTaskAdmin),
    (CrontabSchedule, CrontabScheduleAdmin),
    (IntervalSchedule, Audited),
    (SolarSchedule, Audited),
    (ClockedSchedule, Audited),
):
    admin.site.unregister(model)
    admin.site.register(model, page)
