-- Published jobs that have waited a while for a claim (job_in_window): in Redis still, or lost by it. passed_over: for so
-- long that others must have been taken before them.
SELECT
    id, queue, pool, fence, priority, timeout_sec, short,
    published_at < now() - make_interval(secs => %(passed_over_sec)s::float8) AS passed_over
FROM jobs_job
WHERE status = 'queued' AND published_at < now() - make_interval(secs => %(lost_after_sec)s::float8)
ORDER BY turn_at, id
LIMIT %(limit)s::int
