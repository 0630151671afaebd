-- Queues and pools that hold due, unpublished jobs. A loose index scan over job_to_publish: one probe each, however long
-- the backlog is.
WITH RECURSIVE found AS (
    (
        SELECT queue, pool FROM jobs_job
        WHERE status = 'queued' AND published_at IS NULL AND waiting_on = 0
        ORDER BY queue, pool LIMIT 1
    )
    UNION ALL
    SELECT next.queue, next.pool
    FROM found CROSS JOIN LATERAL (
        SELECT j.queue, j.pool FROM jobs_job AS j
        WHERE j.status = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0
            AND (j.queue, j.pool) > (found.queue, found.pool)
        ORDER BY j.queue, j.pool LIMIT 1
    ) AS next
)
SELECT queue, pool FROM found
