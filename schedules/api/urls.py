"""Routes of schedules, below `v1/`."""

from __future__ import annotations

from django.urls import path

from schedules.api import views

urlpatterns = [
    path("schedules", views.SchedulesView.as_view(), name="schedules"),
    path("schedules/preview", views.SchedulePreviewView.as_view(), name="schedule-preview"),
    path("schedules/<str:schedule_id>", views.ScheduleView.as_view(), name="schedule"),
    path("schedules/<str:schedule_id>/run", views.ScheduleRunView.as_view(), name="schedule-run"),
    path("schedules/<str:schedule_id>/pause", views.SchedulePauseView.as_view(), name="schedule-pause"),
    path("schedules/<str:schedule_id>/resume", views.ScheduleResumeView.as_view(), name="schedule-resume"),
    path("schedules/<str:schedule_id>/runs", views.ScheduleRunsView.as_view(), name="schedule-runs"),
]
