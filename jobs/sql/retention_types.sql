-- The types that there are jobs of, whether or not they still exist as types: one probe of job_by_type each. No locks.
WITH RECURSIVE found AS (
    (SELECT type FROM jobs_job ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT j.type FROM jobs_job AS j WHERE j.type > found.type ORDER BY j.type LIMIT 1)
    FROM found WHERE found.type IS NOT NULL
)
SELECT type FROM found WHERE type IS NOT NULL
