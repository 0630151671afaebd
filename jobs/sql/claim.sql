-- Claim attempts: queued → running, each with its attempt's row and log line. What somebody else was first at is missing.
-- ids and fences: of one message, so of one queue and pool. A fence in it must be the row's: a message of an earlier
-- attempt claims nothing.
-- Also says how full the window of the queue and pool is, in places (fill.sql), so that the worker that drains it refills
-- it (job_in_window), and whether a job takes up a limit, so that its end makes room for another at once.
-- Locks: the jobs' rows. "= ANY (ids)" and no join finds them: a join may go through the whole index of a small table.
-- status || '' keeps the planner on the primary key: the indexes that start with a status are full of dead entries.
WITH claimed AS (
    UPDATE jobs_job
    SET status = 'running', attempts = attempts + 1, fence = fence + 1, published_at = NULL, progress = NULL,
        locked_by = %(worker)s::text, node = %(node)s::uuid, started_at = clock_timestamp(), updated_at = clock_timestamp(),
        lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_sec)s::float8)
    WHERE id = ANY (%(ids)s::uuid[]) AND status || '' = 'queued'
        AND fence = (%(fences)s::int[])[array_position(%(ids)s::uuid[], id)]
        AND published_at IS NOT NULL AND waiting_on = 0
        AND attempts < max_attempts AND (expires_at IS NULL OR fence > 0 OR expires_at > now())
    RETURNING *
),
attempt AS (
    INSERT INTO jobs_attempt (job_id, number, series, ordinal, worker, node, outcome, started_at, waited_ms, rate_key)
    SELECT
        id, fence, series, attempts, locked_by, node, 'running', started_at,
        GREATEST(0, (EXTRACT(EPOCH FROM started_at - available_at) * 1000)::bigint),
        CASE WHEN t.rate_limit IS NOT NULL THEN
            CASE WHEN t.rate_per_key THEN claimed.type || '/' || concurrency_key ELSE claimed.type END
        END
    FROM claimed LEFT JOIN jobs_jobtype AS t ON t.name = claimed.type
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, started_at, 'info', 'Job claimed', jsonb_build_object('worker', locked_by, 'queue', queue)
    FROM claimed
),
line_up AS MATERIALIZED (
    -- The one queue and pool of them all. What the statement reads is from before its own UPDATE.
    SELECT
        (
            SELECT COALESCE(sum({{weight}}), 0) FROM jobs_job AS w
            WHERE w.queue = its.queue AND w.pool = its.pool AND w.status = 'queued' AND w.published_at IS NOT NULL
        ) - its.claimed_now AS left_in_window,
        EXISTS (
            SELECT FROM jobs_job AS b
            WHERE b.queue = its.queue AND b.pool = its.pool AND b.status = 'queued' AND b.published_at IS NULL
                AND b.waiting_on = 0 AND b.available_at <= now()
        ) AS has_backlog
    FROM (
        SELECT queue, pool, sum({{weight}}) AS claimed_now
        FROM claimed GROUP BY queue, pool LIMIT 1
    ) AS its
)
SELECT
    claimed.id, claimed.type, claimed.queue, claimed.pool, claimed.input, claimed.attempts, claimed.max_attempts,
    claimed.fence, claimed.timeout_sec, claimed.started_at, claimed.phase, claimed.trace,
    COALESCE(type.max_running, type.max_running_per_key, q.max_running) IS NOT NULL AS takes_limit,
    type.handler, type.enabled, type.retry_base_sec, type.retry_factor, type.retry_max_sec, type.retry_jitter,
    (line_up.left_in_window / %(short_per_place)s::int)::int AS left_in_window, line_up.has_backlog
FROM claimed CROSS JOIN line_up
LEFT JOIN jobs_jobtype AS type ON type.name = claimed.type LEFT JOIN jobs_queue AS q ON q.name = claimed.queue
