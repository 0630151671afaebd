-- Every queue that any job was ever on. A loose index scan over job_by_queue: one probe a queue, however many jobs.
-- Locks: none.
WITH RECURSIVE queues AS (
    (SELECT queue FROM jobs_job ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs_job AS j WHERE j.queue > queues.queue ORDER BY j.queue LIMIT 1)
    FROM queues WHERE queues.queue IS NOT NULL
)
SELECT queue FROM queues WHERE queue IS NOT NULL
