-- End running attempts: succeeded, or failed with or without another try; each with its log lines, its attempt row and
-- the callback's outbox row. No row comes back for a stale attempt: the fence is not the row's any more.
-- ends: a JSON array; ids: theirs. retry is granted while attempts are left and the job has not cost too many workers.
-- large_result: JSON text that is kept apart from the row; null for a small result, which is `result` (JSON text too).
-- ran_ms: how long the handler ran, where whoever ends it knows.
-- alone: only those without dependants, so that the statement may be its own transaction; no row for the others, too.
-- Locks: the jobs' rows. "= ANY (ids)" bounds what any plan reads of jobs and of attempts.
-- status || '' keeps the planner on the primary key: the indexes that start with a status are full of dead entries.
WITH told AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(ends)s::jsonb) AS e (
        id uuid, fence int, outcome text, retry boolean, retry_in_sec float8, loss int, result text, large_result text,
        error text, lines jsonb, ran_ms bigint
    )
),
ended AS (
    UPDATE jobs_job AS job
    SET status = CASE
            WHEN told.outcome = 'succeeded' THEN 'succeeded'
            WHEN told.retry AND attempts < max_attempts AND worker_losses + told.loss < %(loss_limit)s::int THEN 'queued'
            ELSE 'failed'
        END,
        finished_at = CASE
            WHEN told.outcome <> 'succeeded' AND told.retry AND attempts < max_attempts
                AND worker_losses + told.loss < %(loss_limit)s::int THEN NULL
            ELSE clock_timestamp()
        END,
        worker_losses = worker_losses + told.loss,
        result = CASE WHEN told.outcome = 'succeeded' THEN told.result::jsonb ELSE job.result END,
        result_size_bytes = CASE WHEN told.outcome = 'succeeded' THEN octet_length(told.large_result) END,
        error = CASE WHEN told.outcome = 'succeeded' THEN NULL ELSE told.error::jsonb END,
        available_at = clock_timestamp() + make_interval(secs => told.retry_in_sec),
        updated_at = clock_timestamp(), locked_by = '', node = NULL, lease_expires_at = NULL
    FROM told
    WHERE job.id = told.id AND job.id = ANY (%(ids)s::uuid[]) AND job.status || '' = 'running'
        AND job.fence = told.fence AND NOT (%(alone)s::boolean AND has_dependants)
    RETURNING
        job.*, told.outcome, told.error::jsonb AS attempt_error, told.retry_in_sec, told.large_result, told.lines, told.ran_ms
),
attempt AS (
    UPDATE jobs_attempt AS a
    SET outcome = ended.outcome, error = ended.attempt_error, ended_at = ended.updated_at,
        retried = ended.finished_at IS NULL,
        ran_ms = COALESCE(
            ended.ran_ms, GREATEST(0, (EXTRACT(EPOCH FROM ended.updated_at - a.started_at) * 1000)::bigint)
        )
    FROM ended
    WHERE a.job_id = ended.id AND a.job_id = ANY (%(ids)s::uuid[]) AND a.number = ended.fence
),
large_result AS (
    INSERT INTO jobs_largeresult (job_id, content)
    SELECT id, large_result FROM ended WHERE result_size_bytes IS NOT NULL
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, ts, level, message, meta
    FROM (
        SELECT l.ord, ended.id, ended.created_at, COALESCE(l.ts, ended.updated_at) AS ts, l.level, l.message, l.meta
        FROM ended, jsonb_to_recordset(ended.lines)
            AS l (ord int, ts timestamptz, level text, message text, meta jsonb)
        UNION ALL
        SELECT
            2147483647, id, created_at, updated_at, 'warn', 'Re-queued for retry',
            jsonb_build_object(
                'attempt', attempts, 'max_attempts', max_attempts,
                'retry_in_ms', round(retry_in_sec::numeric * 1000),
                'available_at', to_char(available_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
            )
        FROM ended WHERE status = 'queued'
    ) AS lines
    ORDER BY ord
),
{{callback}}
SELECT id, queue, status, group_id, callback_url IS NOT NULL AND finished_at IS NOT NULL AS calls_back FROM ended
