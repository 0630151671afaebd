-- Running jobs whose lease has run out (job_leased). Locks nothing: the caller's transition is conditional anyway.
SELECT id, fence, locked_by FROM jobs_job
WHERE status = 'running' AND lease_expires_at < now()
    AND pg_postmaster_start_time() < now() - make_interval(secs => %(lease_sec)s::float8)
ORDER BY lease_expires_at
LIMIT %(limit)s::int
