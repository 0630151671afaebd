-- How busy a queue is for one pool, seen from one of its jobs, and what its limits have left: what fill.sql would weigh; with the
-- row of the job's type (nulls where there is none).
-- Counting what waits stops at %(most)s, so the cost does not grow with the backlog; what is published or runs (active)
-- is few rows. Served by job_to_publish, job_in_window, job_leased and attempt_by_rate_key. Locks: none.
-- turn: by turns between keys, the how many'th of its key the job is, those that run or are published counted.
-- rate_free_at: when the rate limit lets the next attempt begin; null while that depends on published jobs.
WITH job_type AS MATERIALIZED (
    SELECT * FROM jobs_jobtype WHERE name = %(type)s::text
),
active AS MATERIALIZED (
    SELECT id, queue, pool, type, concurrency_key, status, published_at, started_at FROM jobs_job
    WHERE status = 'running' OR (status = 'queued' AND published_at IS NOT NULL)
),
rate AS MATERIALIZED (
    SELECT a.started_at, row_number() OVER (ORDER BY a.started_at) AS nth
    FROM job_type AS t JOIN jobs_attempt AS a
        ON a.rate_key = CASE WHEN t.rate_per_key THEN t.name || '/' || %(key)s::text ELSE t.name END
    WHERE t.rate_limit IS NOT NULL AND a.started_at > clock_timestamp() - make_interval(secs => t.rate_period_sec)
),
counted AS MATERIALIZED (
    SELECT
        (SELECT count(*) FROM rate) AS rate_begun,
        (
            SELECT count(*) FROM active JOIN job_type AS t ON t.name = active.type
            WHERE active.status = 'queued' AND (NOT t.rate_per_key OR active.concurrency_key = %(key)s::text)
        ) AS rate_published
)
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM jobs_job
            WHERE queue = %(queue)s::text AND pool = %(pool)s::text
                AND status = 'queued' AND published_at IS NULL AND waiting_on = 0
                AND available_at <= now() AND (turn_at, id) < (%(turn_at)s::timestamptz, %(id)s::uuid)
            LIMIT %(most)s::int
        ) AS better
    ) AS ahead,
    (
        SELECT count(*) FROM (
            SELECT FROM jobs_job
            WHERE queue = %(queue)s::text AND pool = %(pool)s::text AND type = %(type)s::text AND concurrency_key = %(key)s::text
                AND status = 'queued' AND published_at IS NULL AND waiting_on = 0
                AND available_at <= now() AND (turn_at, id) < (%(turn_at)s::timestamptz, %(id)s::uuid)
            LIMIT %(most)s::int
        ) AS better
    ) + (SELECT count(*) FROM active WHERE concurrency_key = %(key)s::text AND id <> %(id)s::uuid) + 1 AS turn,
    (
        SELECT count(*) FROM active
        WHERE queue = %(queue)s::text AND pool = %(pool)s::text AND status = 'queued' AND id <> %(id)s::uuid
    ) AS in_window,
    (
        SELECT count(*) FROM active WHERE queue = %(queue)s::text AND pool = %(pool)s::text AND status = 'running'
    ) AS running,
    (SELECT count(*) FROM active WHERE queue = %(queue)s::text AND id <> %(id)s::uuid) AS of_queue,
    (SELECT paused FROM jobs_queue WHERE name = %(queue)s::text) IS TRUE AS queue_paused,
    (SELECT max_running FROM jobs_queue WHERE name = %(queue)s::text) AS queue_max_running,
    (SELECT count(*) FROM active WHERE type = %(type)s::text) AS of_type,
    (SELECT count(*) FROM active WHERE type = %(type)s::text AND concurrency_key = %(key)s::text) AS of_key,
    ARRAY(
        SELECT id::text FROM active WHERE type = %(type)s::text AND concurrency_key = %(key)s::text
        ORDER BY started_at NULLS LAST, published_at, id LIMIT 5
    ) AS key_holders,
    counted.rate_begun, counted.rate_published,
    (
        SELECT rate.started_at + make_interval(secs => type.rate_period_sec) FROM rate
        WHERE rate.nth = counted.rate_begun + counted.rate_published - type.rate_limit + 1
    ) AS rate_free_at,
    {{type.*}}
FROM counted LEFT JOIN job_type AS type ON true
