-- Take back the claim of attempts that never began: running → queued, as if they had not been claimed. The fencing number
-- stays, so that whoever held the claim can do nothing with it any more; no limit and no rate counts the attempt.
-- Locks: the jobs' rows.
WITH back AS (
    UPDATE jobs_job
    SET status = 'queued', attempts = attempts - 1, started_at = CASE WHEN attempts > 1 THEN started_at END,
        locked_by = '', node = NULL, lease_expires_at = NULL, updated_at = clock_timestamp()
    WHERE id = ANY (%(ids)s::uuid[]) AND status || '' = 'running'
        AND fence = (%(fences)s::int[])[array_position(%(ids)s::uuid[], id)]
    RETURNING id, queue, pool, fence, created_at, updated_at
),
attempt AS (
    UPDATE jobs_attempt AS a SET outcome = 'unbegun', ended_at = back.updated_at, ran_ms = 0, rate_key = NULL
    FROM back
    WHERE a.job_id = back.id AND a.job_id = ANY (%(ids)s::uuid[]) AND a.number = back.fence
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT
        id, created_at, updated_at, 'info', 'Given back unbegun', jsonb_build_object('attempt', fence, 'reason', %(reason)s::text)
    FROM back
)
SELECT id, queue, pool FROM back
