-- Queues that hold due, unpublished jobs. A loose index scan over job_to_publish: one probe a queue, however long the
-- backlog is.
WITH RECURSIVE queues AS (
    (
        SELECT queue FROM jobs_job
        WHERE status = 'queued' AND published_at IS NULL AND waiting_on = 0
        ORDER BY queue LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT j.queue FROM jobs_job AS j
        WHERE j.status = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0 AND j.queue > queues.queue
        ORDER BY j.queue LIMIT 1
    )
    FROM queues WHERE queues.queue IS NOT NULL
)
SELECT queue FROM queues WHERE queue IS NOT NULL
