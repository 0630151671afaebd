"""Routes of jobs and job types, below `v1/`."""

from __future__ import annotations

from django.urls import path

from jobs.api import approvals, bulk, intents, job_types, queues, result, retention, views
from jobs.api.stream import stream

urlpatterns = [
    path("jobs", views.JobsView.as_view(), name="jobs"),
    path("jobs/batch", views.JobBatchView.as_view(), name="job-batch"),
    path("jobs/bulk", bulk.JobBulkView.as_view(), name="job-bulk"),
    path("jobs/submit-intent", intents.IntentsView.as_view(), name="job-intents"),
    path("jobs/dead", bulk.DeadJobsView.as_view(), name="jobs-dead"),
    path("jobs/<str:job_id>", views.JobView.as_view(), name="job"),
    path("jobs/<str:job_id>/cancel", views.JobCancelView.as_view(), name="job-cancel"),
    path("jobs/<str:job_id>/retry", views.JobRetryView.as_view(), name="job-retry"),
    path("jobs/<str:job_id>/logs", views.JobLogsView.as_view(), name="job-logs"),
    path("jobs/<str:job_id>/attempts", views.JobAttemptsView.as_view(), name="job-attempts"),
    path("jobs/<str:job_id>/explain", views.JobExplainView.as_view(), name="job-explain"),
    path("jobs/<str:job_id>/tree", views.JobTreeView.as_view(), name="job-tree"),
    path("jobs/<str:job_id>/callbacks", views.JobCallbacksView.as_view(), name="job-callbacks"),
    path("jobs/<str:job_id>/result", result.JobResultView.as_view(), name="job-result"),
    path("jobs/<str:job_id>/stream", stream, name="job-stream"),
    path("callbacks/<int:delivery_id>/redeliver", views.CallbackRedeliverView.as_view(), name="callback-redeliver"),
    path("dev/jobs", views.DevJobsView.as_view(), name="dev-jobs"),
    path("job-types", job_types.JobTypesView.as_view(), name="job-types"),
    path("job-types/<str:name>", job_types.JobTypeView.as_view(), name="job-type"),
    path("job-types/<str:name>/pause", job_types.JobTypePauseView.as_view(), name="job-type-pause"),
    path("job-types/<str:name>/resume", job_types.JobTypeResumeView.as_view(), name="job-type-resume"),
    path("retention", retention.RetentionView.as_view(), name="retention"),
    path("retention/preview", retention.PreviewView.as_view(), name="retention-preview"),
    path("retention/types/<str:name>", retention.TypePolicyView.as_view(), name="retention-type"),
    path("approvals", approvals.ApprovalsView.as_view(), name="approvals"),
    path("approvals/<str:job_id>", approvals.ApprovalView.as_view(), name="approval"),
    path("approvals/<str:job_id>/approve", approvals.ApproveView.as_view(), name="approval-approve"),
    path("approvals/<str:job_id>/deny", approvals.DenyView.as_view(), name="approval-deny"),
    path("queues", queues.QueuesView.as_view(), name="queues"),
    path("queues/<str:name>", queues.QueueView.as_view(), name="queue"),
    path("queues/<str:name>/pause", queues.QueuePauseView.as_view(), name="queue-pause"),
    path("queues/<str:name>/resume", queues.QueueResumeView.as_view(), name="queue-resume"),
]
