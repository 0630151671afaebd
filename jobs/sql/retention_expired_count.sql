-- How many jobs of a type its policy lets go, counted up to a bound, and the oldest end of them (job_by_type). No locks.
SELECT count(*) AS count, min(finished_at) AS oldest
FROM (
    SELECT j.finished_at FROM jobs_job AS j
    WHERE j.type = %(type)s::text AND j.created_at < %(created_before)s::timestamptz AND {{retention_expired}}
    ORDER BY j.created_at, j.id
    LIMIT %(limit)s::int
) AS expired
