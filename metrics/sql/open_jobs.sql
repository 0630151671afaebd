-- Open jobs by queue and where they are; and how long the oldest due one has waited. Looks at open jobs only (job_by_status).
SELECT
    queue,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'queued' AND published_at IS NOT NULL) AS published,
    count(*) FILTER (WHERE status = 'queued' AND published_at IS NULL AND waiting_on = 0 AND available_at <= now()) AS waiting,
    count(*) FILTER (WHERE status = 'queued' AND published_at IS NULL AND (waiting_on > 0 OR available_at > now())) AS delayed,
    COALESCE(EXTRACT(EPOCH FROM now() - min(available_at) FILTER (
        WHERE status = 'queued' AND waiting_on = 0 AND available_at <= now()
    )), 0)::float8 AS oldest_sec
FROM jobs_job
WHERE status IN ('queued', 'running')
GROUP BY queue
ORDER BY count(*) DESC, queue
