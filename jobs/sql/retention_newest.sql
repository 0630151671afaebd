-- The newest job of a type that its policy's count does not keep; none when there are not so many (job_by_type). No locks.
SELECT created_at, id FROM jobs_job
WHERE type = %(type)s::text
ORDER BY created_at DESC, id DESC
OFFSET %(count)s::int LIMIT 1
