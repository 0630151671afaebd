-- The jobs that schedules go by, however old: the last of each, and the newest of one that stops after so many failures in
-- a row (run_with_job). Looks at every schedule. No locks.
SELECT last_job_id AS job_id FROM schedules_schedule WHERE last_job_id IS NOT NULL
UNION
SELECT newest.job_id
FROM schedules_schedule AS s
CROSS JOIN LATERAL (
    SELECT r.job_id FROM schedules_run AS r
    WHERE r.schedule_id = s.id AND r.job_id IS NOT NULL
    ORDER BY r.id DESC LIMIT s.pause_after_failures
) AS newest
WHERE s.pause_after_failures IS NOT NULL
