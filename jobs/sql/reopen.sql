-- failed | cancelled → queued, as a new series of attempts, with its log line. The fence grows on.
-- Locks: the job's row.
WITH reopened AS (
    UPDATE jobs_job
    SET status = 'queued', series = series + 1, attempts = 0, worker_losses = 0, error = NULL, finished_at = NULL,
        started_at = NULL, progress = NULL, published_at = NULL, waiting_on = %(waiting_on)s::int,
        available_at = clock_timestamp(), updated_at = clock_timestamp(), expires_at = NULL, phase = 0,
        turn_at = clock_timestamp() - make_interval(secs => priority * %(ageing_sec)s::float8)
    WHERE id = %(id)s::uuid AND status IN ('failed', 'cancelled')
    RETURNING *
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT
        id, created_at, updated_at, 'info', 'Job retried', jsonb_build_object('by', %(by)s::text, 'series', series)
    FROM reopened
)
SELECT {{reopened.*}} FROM reopened
