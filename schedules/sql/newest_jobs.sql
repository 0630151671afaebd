-- The newest jobs of some schedules, each schedule's newest first: what has not ended, and what failed.
-- wanted: a JSON array of {id, most}. Index: run_with_job, the jobs' primary key.
SELECT wanted.id AS schedule_id, j.id AS job_id, j.status, newest.at
FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted (id uuid, most int)
CROSS JOIN LATERAL (
    SELECT r.id, r.job_id, r.at FROM schedules_run AS r
    WHERE r.schedule_id = wanted.id AND r.job_id IS NOT NULL
    ORDER BY r.id DESC LIMIT wanted.most
) AS newest
JOIN jobs_job AS j ON j.id = newest.job_id
ORDER BY wanted.id, newest.id DESC
