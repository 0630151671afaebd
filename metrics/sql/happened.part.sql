-- What happened in the caller's `span` (since, until: one row), from the rows that tell of it: a counter a row and minute
-- (happened), how long things took (took: milliseconds, in %(bounds_ms)s's buckets), and both without minutes (everything).
-- Served by attempt_by_time, job_newest, the log's primary key and joblog_counted. Locks: none.
began AS MATERIALIZED (
    SELECT date_trunc('minute', a.started_at) AS minute, j.type, j.queue, a.waited_ms
    FROM jobs_attempt AS a JOIN jobs_job AS j ON j.id = a.job_id
    WHERE a.started_at >= (SELECT since FROM span) AND a.started_at < (SELECT until FROM span) AND a.outcome <> 'unbegun'
),
ended AS MATERIALIZED (
    SELECT
        date_trunc('minute', a.ended_at) AS minute, j.type, j.queue, a.outcome, a.retried, a.error ->> 'code' AS code, a.ran_ms,
        (EXTRACT(EPOCH FROM a.ended_at - j.created_at) * 1000)::bigint AS total_ms,
        a.outcome IN ('failed', 'timed_out', 'lost') AND NOT a.retried AS failed
    FROM jobs_attempt AS a JOIN jobs_job AS j ON j.id = a.job_id
    WHERE a.ended_at >= (SELECT since FROM span) AND a.ended_at < (SELECT until FROM span) AND a.outcome <> 'unbegun'
),
made AS MATERIALIZED (
    SELECT
        date_trunc('minute', j.created_at) AS minute, j.type, j.queue,
        CASE WHEN j.group_id IS NULL THEN
            (
                SELECT l.message FROM jobs_joblog AS l
                WHERE l.job_id = j.id AND l.job_created_at = j.created_at
                ORDER BY l.id LIMIT 1
            )
        END AS first_line
    FROM jobs_job AS j
    WHERE j.created_at >= (SELECT since FROM span) AND j.created_at < (SELECT until FROM span)
),
told AS MATERIALIZED (
    SELECT date_trunc('minute', l.ts) AS minute, l.message, l.meta, j.type, j.queue, j.error ->> 'code' AS code
    FROM jobs_joblog AS l JOIN jobs_job AS j ON j.id = l.job_id
    WHERE l.ts >= (SELECT since FROM span) AND l.ts < (SELECT until FROM span)
        AND l.message IN (
            'Job cancelled', 'Job expired', 'Child failed', 'Dependency blocked job', 'Callback delivered', 'Callback failed',
            'Callback blocked (not allowlisted)', 'Callback skipped (callbacks.enabled=false)',
            'Callback skipped (signing enabled but secret missing)'
        )
),
happened (minute, name, labels, value) AS MATERIALIZED (
    SELECT minute, 'job.created', jsonb_build_object('type', type, 'queue', queue), count(*)
    FROM made WHERE first_line = 'Job created' GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'schedule.dispatched_jobs', '{}'::jsonb, count(*)
    FROM made WHERE first_line = 'Job scheduled' GROUP BY minute
    UNION ALL
    SELECT minute, 'job.made', jsonb_build_object('type', type, 'queue', queue), count(*) FROM made GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'job.claimed', jsonb_build_object('type', type, 'queue', queue), count(*) FROM began GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'job.succeeded', jsonb_build_object('type', type, 'queue', queue), count(*)
    FROM ended WHERE outcome = 'succeeded' GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'job.retried', jsonb_build_object('type', type, 'queue', queue), count(*)
    FROM ended WHERE retried GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'job.failed_terminal', jsonb_build_object('type', type, 'queue', queue, 'code', COALESCE(code, 'unknown')), count(*)
    FROM (
        SELECT minute, type, queue, code FROM ended WHERE failed
        UNION ALL
        SELECT minute, type, queue, CASE message WHEN 'Job expired' THEN 'JOB_EXPIRED' ELSE 'CHILD_FAILED' END
        FROM told WHERE message IN ('Job expired', 'Child failed')
    ) AS failed
    GROUP BY minute, type, queue, code
    UNION ALL
    SELECT minute, 'job.blocked', jsonb_build_object('type', type, 'queue', queue), count(*)
    FROM told WHERE message = 'Dependency blocked job' GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'job.ended', jsonb_build_object('type', type, 'queue', queue, 'status', status), count(*)
    FROM (
        SELECT minute, type, queue, CASE WHEN failed THEN 'failed' ELSE 'succeeded' END AS status
        FROM ended WHERE failed OR outcome = 'succeeded'
        UNION ALL
        SELECT minute, type, queue, CASE message WHEN 'Job cancelled' THEN 'cancelled' ELSE 'failed' END
        FROM told WHERE message NOT LIKE 'Callback %%'
    ) AS gone
    GROUP BY minute, type, queue, status
    UNION ALL
    SELECT minute, 'job.cancelled', jsonb_build_object('type', type), count(*)
    FROM told WHERE message = 'Job cancelled' GROUP BY minute, type
    UNION ALL
    SELECT minute, 'attempt.ended', jsonb_build_object('type', type, 'queue', queue, 'outcome', outcome), count(*)
    FROM ended GROUP BY minute, type, queue, outcome
    UNION ALL
    SELECT minute, 'attempt.lost', jsonb_build_object('type', type, 'queue', queue), count(*)
    FROM ended WHERE outcome = 'lost' GROUP BY minute, type, queue
    UNION ALL
    SELECT minute, 'callback.delivered', jsonb_build_object('status', meta ->> 'status'), count(*)
    FROM told WHERE message = 'Callback delivered' GROUP BY minute, meta ->> 'status'
    UNION ALL
    SELECT
        minute,
        CASE message
            WHEN 'Callback failed' THEN 'callback.failed'
            WHEN 'Callback blocked (not allowlisted)' THEN 'callback.blocked_allowlist'
            WHEN 'Callback skipped (callbacks.enabled=false)' THEN 'callback.skipped_disabled'
            ELSE 'callback.skipped_signing_secret_missing'
        END,
        '{}'::jsonb, count(*)
    FROM told WHERE message LIKE 'Callback %%' AND message <> 'Callback delivered' GROUP BY minute, message
),
took AS MATERIALIZED (
    SELECT name, type, width_bucket(ms, %(bounds_ms)s::bigint[]) AS bucket, count(*) AS value, sum(ms)::bigint AS sum_ms
    FROM (
        SELECT 'job.wait' AS name, type, waited_ms AS ms FROM began
        UNION ALL
        SELECT 'job.run', type, ran_ms FROM ended
        UNION ALL
        SELECT 'job.total', type, total_ms FROM ended WHERE failed OR outcome = 'succeeded'
    ) AS one
    GROUP BY name, type, bucket
),
everything (name, labels, value) AS MATERIALIZED (
    SELECT name, labels, sum(value)::bigint FROM happened GROUP BY name, labels
    UNION ALL
    SELECT name, jsonb_build_object('type', type, 'bucket', bucket), value FROM took
    UNION ALL
    SELECT name || '_ms', jsonb_build_object('type', type), sum(sum_ms)::bigint FROM took GROUP BY name, type
)
