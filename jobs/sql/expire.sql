-- queued → failed, for jobs that had not begun when their time to begin was over (job_expiring); with log line and
-- callback. A retry has begun, so it does not expire. Locks: the jobs' rows, with SKIP LOCKED.
WITH late AS MATERIALIZED (
    SELECT id FROM jobs_job
    WHERE status = 'queued' AND expires_at <= now() AND fence = 0
    ORDER BY expires_at
    LIMIT %(limit)s::int
    FOR UPDATE SKIP LOCKED
),
ended AS (
    UPDATE jobs_job
    SET status = 'failed', finished_at = clock_timestamp(), updated_at = clock_timestamp(), published_at = NULL,
        error = %(error)s::jsonb
    FROM late WHERE jobs_job.id = late.id
    RETURNING jobs_job.*
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, updated_at, 'error', 'Job expired', jsonb_build_object('expires_at', expires_at) FROM ended
),
{{callback}}
SELECT id, has_dependants, group_id, callback_url IS NOT NULL AS calls_back FROM ended
