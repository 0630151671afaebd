-- Create jobs with their first log line and, for one job with an Idempotency-Key, the key: all or nothing.
-- rows: a JSON array; digest: null without a key. No row comes back when the key is already taken and alive, or when a
-- type's row is not the one that type_version names (job_types.sql; null: whatever it is).
-- Locks: none that wait, except on a concurrent first use of the same key (its unique index), which is the point.
-- A job is put into the window of its queue and pool here when there is room, no limit to apply and nothing else waits
-- (job_in_window, job_to_publish); otherwise, and always with publish false (batches), fill.sql does it, which the caller
-- runs if wants_fill.
WITH incoming AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        ord int, id uuid, type text, queue text, priority smallint, timeout_sec smallint, max_attempts smallint,
        callback_url text, tags jsonb, input jsonb, waiting_on smallint, created_by text, handler text,
        type_version text, concurrency_key text, unique_key text, expires_in_sec float8, delay_sec float8, limited boolean,
        group_id uuid, child_name text, pool text, short boolean, log_message text, log_meta jsonb, trace text
    )
),
outdated AS MATERIALIZED (
    SELECT FROM incoming LEFT JOIN jobs_jobtype AS t ON t.name = incoming.type
    WHERE type_version IS NOT NULL AND t.ctid::text || '/' || t.xmin::text IS DISTINCT FROM type_version
),
room AS MATERIALIZED (
    SELECT
        (
            -- Not in places: beyond so many messages short jobs wait for fill.sql, which lets them share some.
            SELECT count(*) FROM jobs_job AS w
            WHERE w.queue = incoming.queue AND w.pool = incoming.pool AND w.status = 'queued' AND w.published_at IS NOT NULL
        ) < GREATEST(
            %(window_min)s::int,
            %(window_factor)s::int * (
                SELECT COALESCE(sum(concurrency), 0) FROM jobs_node
                WHERE kind = 'worker' AND jobs_node.pool = incoming.pool AND incoming.queue = ANY (queues)
                    AND seen_at > now() - make_interval(secs => %(node_ttl_sec)s::float8)
            )
        ) AS is_left
    FROM incoming
    WHERE %(publish)s::boolean AND waiting_on = 0 AND delay_sec = 0
),
taken_key AS (
    INSERT INTO jobs_idempotencykey AS existing (digest, fingerprint, job_id, created_at, expires_at)
    SELECT %(digest)s::text, %(fingerprint)s::text, id, now(), now() + make_interval(secs => %(ttl_sec)s::float8)
    FROM incoming
    WHERE %(digest)s::text IS NOT NULL AND NOT EXISTS (SELECT FROM outdated)
    ON CONFLICT (digest) DO UPDATE
    SET fingerprint = EXCLUDED.fingerprint, job_id = EXCLUDED.job_id,
        created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at
    WHERE existing.expires_at <= now()
    RETURNING digest
),
job AS (
    INSERT INTO jobs_job (
        id, type, queue, status, priority, timeout_sec, attempts, max_attempts, callback_url, tags, input,
        created_at, updated_at, available_at, turn_at, expires_at, concurrency_key, unique_key, waiting_on, created_by,
        group_id, child_name, pool, short, trace, published_at
    )
    SELECT
        id, type, queue, 'queued', priority, timeout_sec, 0, max_attempts, callback_url,
        ARRAY(SELECT jsonb_array_elements_text(tags)), input,
        -- Jobs of one batch keep their order: created_at orders a queue.
        now() + make_interval(secs => ord * 0.000001), now(), now() + make_interval(secs => delay_sec),
        now() + make_interval(secs => ord * 0.000001 - priority * %(ageing_sec)s::float8),
        now() + make_interval(secs => expires_in_sec), concurrency_key, unique_key, waiting_on, created_by,
        group_id, child_name, pool, short, trace,
        CASE
            WHEN (SELECT is_left FROM room) AND NOT limited
                AND NOT EXISTS (
                    SELECT FROM jobs_queue AS q
                    WHERE q.name = incoming.queue AND (q.paused OR q.max_running IS NOT NULL)
                )
                AND NOT EXISTS (
                    SELECT FROM jobs_job AS b
                    WHERE b.queue = incoming.queue AND b.pool = incoming.pool AND b.status = 'queued' AND b.published_at IS NULL
                        AND b.waiting_on = 0 AND b.available_at <= now()
                )
            THEN now()
        END
    FROM incoming
    WHERE (%(digest)s::text IS NULL OR EXISTS (SELECT FROM taken_key)) AND NOT EXISTS (SELECT FROM outdated)
    RETURNING id, created_at, updated_at, available_at, turn_at, expires_at, published_at
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT
        id, created_at, now(), 'info', log_message,
        -- What the line of a job that nobody posted says instead is told by whoever made it.
        COALESCE(
            log_meta,
            jsonb_build_object(
                'type', type, 'queue', queue, 'priority', priority, 'timeout_sec', timeout_sec,
                'max_attempts', max_attempts, 'handler', handler
            )
        )
    FROM job JOIN incoming USING (id)
    ORDER BY created_at
)
-- Only what the caller does not know: each column more is paid for in every node of this plan.
SELECT
    id, created_at, updated_at, available_at, turn_at, expires_at, published_at,
    COALESCE((SELECT is_left FROM room) AND published_at IS NULL, false) AS wants_fill
FROM job
ORDER BY created_at
