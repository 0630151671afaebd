-- End a running attempt: succeeded, or failed with or without another try; with its log lines, its attempt row and
-- the callback's outbox row. No row comes back for a stale attempt: the fence is not the row's any more.
-- retry is granted while attempts are left and the job has not cost too many workers.
-- large_result: JSON text that is kept apart from the row; null for a small result, which is `result`.
-- alone: only for a job without dependants, so that the statement may be its own transaction; no row otherwise, too.
-- Locks: the job's row.
-- status || '' keeps the planner on the primary key: the indexes that start with a status are full of dead entries.
WITH ended AS (
    UPDATE jobs_job
    SET status = CASE
            WHEN %(outcome)s::text = 'succeeded' THEN 'succeeded'
            WHEN %(retry)s::boolean AND attempts < max_attempts AND worker_losses + %(loss)s::int < %(loss_limit)s::int THEN 'queued'
            ELSE 'failed'
        END,
        finished_at = CASE
            WHEN %(outcome)s::text <> 'succeeded' AND %(retry)s::boolean AND attempts < max_attempts
                AND worker_losses + %(loss)s::int < %(loss_limit)s::int THEN NULL
            ELSE clock_timestamp()
        END,
        worker_losses = worker_losses + %(loss)s::int,
        result = CASE WHEN %(outcome)s::text = 'succeeded' THEN %(result)s::jsonb ELSE result END,
        result_size_bytes = CASE WHEN %(outcome)s::text = 'succeeded' THEN octet_length(%(large_result)s::text) END,
        error = CASE WHEN %(outcome)s::text = 'succeeded' THEN NULL ELSE %(error)s::jsonb END,
        available_at = clock_timestamp() + make_interval(secs => %(retry_in_sec)s::float8),
        updated_at = clock_timestamp(), locked_by = '', node = NULL, lease_expires_at = NULL
    WHERE id = %(id)s::uuid AND status || '' = 'running' AND fence = %(fence)s::int
        AND NOT (%(alone)s::boolean AND has_dependants)
    RETURNING *
),
attempt AS (
    UPDATE jobs_attempt AS a
    SET outcome = %(outcome)s::text, error = %(error)s::jsonb, ended_at = ended.updated_at,
        retried = ended.finished_at IS NULL,
        ran_ms = GREATEST(0, (EXTRACT(EPOCH FROM ended.updated_at - a.started_at) * 1000)::bigint)
    FROM ended
    WHERE a.job_id = ended.id AND a.number = ended.fence
),
large_result AS (
    INSERT INTO jobs_largeresult (job_id, content)
    SELECT id, %(large_result)s::text FROM ended WHERE result_size_bytes IS NOT NULL
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, ts, level, message, meta
    FROM (
        SELECT l.ord, ended.id, ended.created_at, COALESCE(l.ts, ended.updated_at) AS ts, l.level, l.message, l.meta
        FROM ended, jsonb_to_recordset(%(lines)s::jsonb)
            AS l (ord int, ts timestamptz, level text, message text, meta jsonb)
        UNION ALL
        SELECT
            2147483647, id, created_at, updated_at, 'warn', 'Re-queued for retry',
            jsonb_build_object(
                'attempt', attempts, 'max_attempts', max_attempts,
                'retry_in_ms', round(%(retry_in_sec)s::float8::numeric * 1000),
                'available_at', to_char(available_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
            )
        FROM ended WHERE status = 'queued'
    ) AS lines
    ORDER BY ord
),
{{callback}}
SELECT id, queue, status, group_id, callback_url IS NOT NULL AND finished_at IS NOT NULL AS calls_back FROM ended
