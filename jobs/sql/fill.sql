-- What runs next: publish the best due jobs of one queue and pool into their bounded window. THE place that decides
-- order, and the only one that applies pauses, limits and fair turns.
-- 1. What is published or runs, on all queues, takes up limits (job_leased, job_in_window; few rows). All is counted
--    from rows, so no kill can leak a slot.
-- 2. The waiting jobs fall into groups, one a type and concurrency key. A loose index scan over job_to_publish finds
--    them: one probe a group, however many jobs each holds.
-- 3. Of each group with room its first few by turn_at. Among all of them: first by priority with age (turn_at is when a
--    job was made, less a span for each step of priority), then by turns between keys, then by turn_at.
-- A window has places. A short job takes a part of one (short_per_place), as several of them go in one message: room and
-- weights are counted in such parts.
-- Locks: those of fill_lock.sql, an EARLIER statement of the transaction: one filler at a time, and this statement's
-- snapshot sees what the one before it published. Without them nothing is published. Rows with SKIP LOCKED.
WITH RECURSIVE active AS MATERIALIZED (
    SELECT
        type, concurrency_key AS key, count(*)::int AS n,
        count(*) FILTER (WHERE status = 'queued')::int AS published,
        count(*) FILTER (WHERE queue = %(queue)s::text)::int AS of_queue,
        COALESCE(
            sum({{weight}})
                FILTER (WHERE queue = %(queue)s::text AND pool = %(pool)s::text AND status = 'queued'), 0
        )::int AS in_window
    FROM jobs_job
    WHERE status = 'running' OR (status = 'queued' AND published_at IS NOT NULL)
    GROUP BY type, concurrency_key
),
active_type AS MATERIALIZED (
    SELECT type, sum(n)::int AS n, sum(published)::int AS published FROM active GROUP BY type
),
rule AS MATERIALIZED (
    SELECT
        capacity.slots,
        GREATEST(
            0,
            %(short_per_place)s::int * GREATEST(%(window_min)s::int, %(window_factor)s::int * capacity.slots)
                - (SELECT COALESCE(sum(in_window), 0) FROM active)
        )::int AS room,
        CASE WHEN q.max_running IS NOT NULL THEN
            GREATEST(0, q.max_running - (SELECT COALESCE(sum(of_queue), 0) FROM active))::int
        END AS queue_room
    FROM (
        SELECT COALESCE(sum(concurrency), 0)::int AS slots FROM jobs_node
        WHERE kind = 'worker' AND pool = %(pool)s::text AND %(queue)s::text = ANY (queues)
            AND seen_at > now() - make_interval(secs => %(node_ttl_sec)s::float8)
    ) AS capacity LEFT JOIN jobs_queue AS q ON q.name = %(queue)s::text
    WHERE q.paused IS NOT TRUE AND current_setting('rauskuclaw.fills', true) = 'true'
),
waiting AS (
    (
        SELECT j.type, j.concurrency_key AS key, j.short FROM jobs_job AS j, rule
        WHERE j.queue = %(queue)s::text AND j.pool = %(pool)s::text
            AND j.status = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0 AND LEAST(rule.room, rule.queue_room) > 0
        ORDER BY j.type, j.concurrency_key LIMIT 1
    )
    UNION ALL
    SELECT next.type, next.concurrency_key, next.short
    FROM waiting CROSS JOIN LATERAL (
        SELECT j.type, j.concurrency_key, j.short FROM jobs_job AS j
        WHERE j.queue = %(queue)s::text AND j.pool = %(pool)s::text
            AND j.status = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0
            AND (j.type, j.concurrency_key) > (waiting.type, waiting.key)
        ORDER BY j.type, j.concurrency_key LIMIT 1
    ) AS next
),
grp AS MATERIALIZED (
    SELECT
        waiting.type, waiting.key,
        sum(COALESCE(active.n, 0)) OVER (PARTITION BY waiting.key) AS taken_by_key,
        LEAST(
            CASE WHEN waiting.short THEN rule.room ELSE ceil(rule.room::float8 / %(short_per_place)s::int)::int END,
            rule.queue_room,
            CASE WHEN waiting.key <> '' THEN t.max_running_per_key - COALESCE(active.n, 0) END,
            CASE WHEN t.rate_per_key THEN t.rate_limit - rate.begun - COALESCE(active.published, 0) END
        ) AS room,
        LEAST(
            t.max_running - COALESCE(active_type.n, 0),
            CASE WHEN NOT t.rate_per_key THEN t.rate_limit - rate.begun - COALESCE(active_type.published, 0) END
        ) AS type_room
    FROM waiting
    CROSS JOIN rule
    LEFT JOIN jobs_jobtype AS t ON t.name = waiting.type
    LEFT JOIN active ON active.type = waiting.type AND active.key = waiting.key
    LEFT JOIN active_type ON active_type.type = waiting.type
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.rate_limit IS NOT NULL THEN (
            SELECT count(*) FROM jobs_attempt AS a
            WHERE a.rate_key = CASE WHEN t.rate_per_key THEN waiting.type || '/' || waiting.key ELSE waiting.type END
                AND a.started_at > clock_timestamp() - make_interval(secs => t.rate_period_sec)
        )::int END AS begun
    ) AS rate
    WHERE t.paused IS NOT TRUE
),
share AS MATERIALIZED (
    -- Among many groups nobody gets far in one round, so fewer of each are looked at.
    SELECT CASE WHEN count(*) <= 64 THEN 1000000 ELSE 2 END AS most FROM grp WHERE room > 0
),
candidate AS (
    SELECT
        job.id, job.turn_at, grp.type, grp.type_room,
        {{weight}} AS weight,
        floor(EXTRACT(EPOCH FROM now() - job.turn_at) / %(ageing_sec)s::float8) AS priority_with_age,
        grp.taken_by_key + row_number() OVER (PARTITION BY grp.key ORDER BY job.turn_at, job.id) AS turn
    FROM grp CROSS JOIN share CROSS JOIN LATERAL (
        SELECT j.id, j.turn_at, j.short FROM jobs_job AS j
        WHERE j.queue = %(queue)s::text AND j.pool = %(pool)s::text AND j.type = grp.type AND j.concurrency_key = grp.key
            AND j.status = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0
            AND j.available_at <= now() AND (j.expires_at IS NULL OR j.fence > 0 OR j.expires_at > now())
        ORDER BY j.turn_at, j.id
        LIMIT LEAST(grp.room, share.most)
    ) AS job
    WHERE grp.room > 0
),
within_type AS (
    SELECT *, row_number() OVER (PARTITION BY type ORDER BY priority_with_age DESC, turn, turn_at, id) AS nth_of_type
    FROM candidate
),
in_order AS (
    SELECT
        id, row_number() OVER best_first AS nth,
        -- What is taken before it: the last one may take more than what is left.
        sum(weight) OVER best_first - weight AS taken
    FROM within_type
    WHERE type_room IS NULL OR nth_of_type <= type_room
    WINDOW best_first AS (ORDER BY priority_with_age DESC, turn, turn_at, id ROWS UNBOUNDED PRECEDING)
),
chosen AS MATERIALIZED (
    SELECT in_order.id, in_order.nth FROM in_order, rule
    WHERE in_order.taken < rule.room AND (rule.queue_room IS NULL OR in_order.nth <= rule.queue_room)
),
free AS MATERIALIZED (
    SELECT j.id FROM jobs_job AS j
    WHERE j.id = ANY (ARRAY(SELECT id FROM chosen))
        AND j.status || '' = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0
    FOR UPDATE SKIP LOCKED
),
published AS (
    UPDATE jobs_job SET published_at = clock_timestamp()
    WHERE jobs_job.id = ANY (ARRAY(SELECT id FROM free))
    RETURNING
        jobs_job.id, jobs_job.queue, jobs_job.pool, jobs_job.fence, jobs_job.priority, jobs_job.timeout_sec,
        -- One that has cost a worker shares its message with nobody: it may cost another.
        jobs_job.short AND jobs_job.worker_losses = 0 AS short
)
SELECT published.*, rule.slots FROM published JOIN chosen USING (id) CROSS JOIN rule ORDER BY chosen.nth
