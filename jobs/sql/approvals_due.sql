-- Approvals that nobody has given in time, and those whose job has ended otherwise (approval_pending). Locks: none.
SELECT a.job_id AS id, j.status <> 'queued' AS is_moot
FROM jobs_approval AS a JOIN jobs_job AS j ON j.id = a.job_id
WHERE a.state = 'pending' AND (a.expires_at <= now() OR j.status <> 'queued')
ORDER BY a.expires_at
LIMIT %(limit)s::int
