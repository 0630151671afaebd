-- Queues and how busy they are: those that a job was ever on, that have a row, or that `served` names (the queues of
-- live workers). names: only these; null for all.
-- Served by job_by_queue (a loose scan for the names), job_to_publish, job_in_window and job_leased. Of what waits, at
-- most %(most)s jobs of a queue are looked at, so the cost does not grow with the backlog. Locks: none.
WITH RECURSIVE used AS (
    (SELECT queue FROM jobs_job ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs_job AS j WHERE j.queue > used.queue ORDER BY j.queue LIMIT 1)
    FROM used WHERE used.queue IS NOT NULL
),
known AS (
    SELECT queue AS name FROM used WHERE queue IS NOT NULL
    UNION SELECT name FROM jobs_queue
    UNION SELECT unnest(%(served)s::text[])
),
in_window AS MATERIALIZED (
    SELECT queue, count(*) AS jobs FROM jobs_job WHERE status = 'queued' AND published_at IS NOT NULL GROUP BY queue
),
running AS MATERIALIZED (
    SELECT queue, count(*) AS jobs FROM jobs_job WHERE status = 'running' GROUP BY queue
)
SELECT
    known.name, COALESCE(q.paused, false) AS paused, q.max_running,
    waiting.due AS waiting, waiting.later AS due_later, waiting.seen = %(most)s::int AS more_waiting,
    waiting.oldest_sec AS oldest_waiting_sec,
    COALESCE(in_window.jobs, 0) AS in_window, COALESCE(running.jobs, 0) AS running
FROM known
LEFT JOIN jobs_queue AS q USING (name)
LEFT JOIN in_window ON in_window.queue = known.name
LEFT JOIN running ON running.queue = known.name
CROSS JOIN LATERAL (
    SELECT
        count(*) AS seen, count(*) FILTER (WHERE available_at <= now()) AS due,
        count(*) FILTER (WHERE available_at > now()) AS later,
        EXTRACT(EPOCH FROM now() - min(available_at) FILTER (WHERE available_at <= now()))::float8 AS oldest_sec
    FROM (
        SELECT j.available_at FROM jobs_job AS j
        WHERE j.queue = known.name AND j.status = 'queued' AND j.published_at IS NULL AND j.waiting_on = 0
        LIMIT %(most)s::int
    ) AS looked_at
) AS waiting
WHERE %(names)s::text[] IS NULL OR known.name = ANY (%(names)s::text[])
ORDER BY known.name
