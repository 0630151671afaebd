-- queued | running → cancelled, with log line, attempt row and callback. A running job's worker is told at commit
-- (NOTIFY, which needs no Redis). job_error: null where a person cancels, which is no error of the job. No row for a
-- job that does not exist or has ended.
-- Locks: the jobs' rows, which the caller has locked in an EARLIER statement: a claim that commits while this one waits
-- for the lock would otherwise leave an attempt that this statement's snapshot does not see, and that runs for ever.
WITH was AS (
    SELECT id, status, fence FROM jobs_job
    WHERE id = ANY (%(ids)s::uuid[]) AND status IN ('queued', 'running')
    FOR UPDATE
),
ended AS (
    UPDATE jobs_job
    SET status = 'cancelled', finished_at = clock_timestamp(), updated_at = clock_timestamp(), published_at = NULL,
        locked_by = '', node = NULL, lease_expires_at = NULL, error = COALESCE(%(job_error)s::jsonb, error)
    FROM was WHERE jobs_job.id = was.id
    RETURNING jobs_job.*, was.status AS old_status
),
attempt AS (
    UPDATE jobs_attempt AS a
    SET outcome = 'cancelled', ended_at = ended.updated_at, error = %(error)s::jsonb,
        ran_ms = GREATEST(0, (EXTRACT(EPOCH FROM ended.updated_at - a.started_at) * 1000)::bigint)
    FROM ended
    WHERE a.job_id = ended.id AND a.number = ended.fence AND a.outcome = 'running'
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, updated_at, 'warn', 'Job cancelled', jsonb_build_object('by', %(by)s::text, 'was', old_status)
    FROM ended
),
{{callback}},
bell AS (
    SELECT pg_notify('rauskuclaw_stop', id::text || ':' || fence::text) FROM ended WHERE old_status = 'running'
)
SELECT {{ended.*}}, (SELECT count(*) FROM bell) AS rung FROM ended
