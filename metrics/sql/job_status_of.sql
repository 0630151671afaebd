-- job_status.sql for some queues: exact where they hold at most %(most)s jobs. Otherwise a status that jobs end in is counted
-- among all jobs of that status, where those are at most %(most)s; is_whole false: they are more, too.
-- Served by job_by_queue, then by job_by_status; BETWEEN as there. Reads the rows of what it counts. Locks: none.
WITH of_queues AS MATERIALIZED (
    SELECT j.status
    FROM unnest(%(queues)s::text[]) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT status FROM jobs_job
        WHERE queue BETWEEN q.queue AND q.queue
        ORDER BY queue DESC, created_at, id
        LIMIT %(most)s + 1
    ) AS j
    LIMIT %(most)s + 1
),
size AS MATERIALIZED (
    SELECT count(*) <= %(most)s AS is_whole FROM of_queues
),
ended AS (
    SELECT ended.status, oldest.seen, oldest.looked_at <= %(most)s AS is_whole
    FROM size
    CROSS JOIN unnest(ARRAY['succeeded', 'failed', 'cancelled']) AS ended (status)
    CROSS JOIN LATERAL (
        SELECT count(*) AS looked_at, count(*) FILTER (WHERE queue = ANY (%(queues)s::text[])) AS seen
        FROM (
            SELECT queue FROM jobs_job
            WHERE status BETWEEN ended.status AND ended.status
            ORDER BY status DESC, created_at, id
            LIMIT %(most)s + 1
        ) AS j
    ) AS oldest
    WHERE NOT size.is_whole
),
there (status, seen, is_whole) AS (
    SELECT status, count(*), true
    FROM jobs_job
    WHERE status IN ('queued', 'running') AND queue = ANY (%(queues)s::text[])
    GROUP BY status
    UNION ALL
    SELECT ended.status, (SELECT count(*) FROM of_queues WHERE of_queues.status = ended.status), true
    FROM size CROSS JOIN unnest(ARRAY['succeeded', 'failed', 'cancelled']) AS ended (status)
    WHERE size.is_whole
    UNION ALL
    SELECT status, seen, is_whole FROM ended
)
SELECT
    status, seen, is_whole,
    COALESCE(
        (SELECT sum(count) FROM jobs_prunedjobs AS p WHERE p.status = there.status AND p.queue = ANY (%(queues)s::text[])), 0
    )::bigint AS pruned
FROM there
