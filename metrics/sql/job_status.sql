-- How many jobs there are of each status (seen), and how many retention has deleted (pruned): one statement, so that a job
-- is never in both. Of a status that jobs end in, at most %(most)s rows are looked at; is_whole false: there are more.
-- Served by job_by_status alone: BETWEEN, for with `=` the planner would as soon look for a rare status in all of job_newest;
-- the oldest, whose pages need no visit. Locks: none.
WITH there (status, seen, is_whole) AS (
    SELECT status, count(*), true FROM jobs_job WHERE status IN ('queued', 'running') GROUP BY status
    UNION ALL
    SELECT ended.status, oldest.seen, oldest.seen <= %(most)s
    FROM unnest(ARRAY['succeeded', 'failed', 'cancelled']) AS ended (status)
    CROSS JOIN LATERAL (
        SELECT count(*) AS seen
        FROM (
            SELECT FROM jobs_job
            WHERE status BETWEEN ended.status AND ended.status
            ORDER BY status DESC, created_at, id
            LIMIT %(most)s + 1
        ) AS j
    ) AS oldest
)
SELECT
    status, seen, is_whole,
    COALESCE((SELECT sum(count) FROM jobs_prunedjobs AS p WHERE p.status = there.status), 0)::bigint AS pruned
FROM there
