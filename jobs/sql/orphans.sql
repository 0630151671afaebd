-- Some of a group's jobs that have not ended, locked in id order: their parent has ended without them (job_by_group).
SELECT id FROM jobs_job
WHERE group_id = %(group)s::uuid AND status IN ('queued', 'running')
ORDER BY id
LIMIT %(limit)s::int
FOR UPDATE
