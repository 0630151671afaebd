-- Append log lines to one job. The job's row lock is taken BEFORE ids are drawn from the sequence, as in every other
-- statement that writes log lines; so within a job ids grow in commit order and a reader's cursor skips nothing.
-- fence null: whoever holds the job; else the lines of a stale attempt are dropped.
WITH job AS MATERIALIZED (
    SELECT id, created_at FROM jobs_job
    WHERE id = %(id)s::uuid AND (%(fence)s::int IS NULL OR (fence = %(fence)s::int AND status || '' = 'running'))
    FOR NO KEY UPDATE
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT job.id, job.created_at, COALESCE(l.ts, clock_timestamp()), l.level, l.message, l.meta
    FROM job, jsonb_to_recordset(%(lines)s::jsonb) AS l (ord int, ts timestamptz, level text, message text, meta jsonb)
    ORDER BY l.ord
),
news AS (
    UPDATE jobs_job SET progress = %(progress)s::jsonb FROM job
    WHERE jobs_job.id = job.id AND %(progress)s::jsonb IS NOT NULL
)
SELECT id FROM job
