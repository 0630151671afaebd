-- Queues that have published, unclaimed jobs of one type. Windows are small (job_in_window). Locks: none.
SELECT DISTINCT queue FROM jobs_job WHERE status = 'queued' AND published_at IS NOT NULL AND type = %(type)s::text
