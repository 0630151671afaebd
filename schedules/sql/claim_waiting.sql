-- The schedules with a due time that waits (overlap queue_one), where the job it waited for has ended.
-- One that was paused meanwhile keeps it; one that stopped by itself is owed it.
-- Locks: their rows, as claim_due.sql does. Index: schedule_waiting, run_with_job, the jobs' primary key.
SELECT
{{facts}}
FROM schedules_schedule AS s
WHERE s.waiting_due_at IS NOT NULL AND (s.enabled OR s.stopped <> '')
    AND NOT EXISTS (
        SELECT
        FROM (
            SELECT r.job_id FROM schedules_run AS r
            WHERE r.schedule_id = s.id AND r.job_id IS NOT NULL
            ORDER BY r.id DESC LIMIT %(look_back)s::int
        ) AS newest
        JOIN jobs_job AS j ON j.id = newest.job_id
        WHERE j.finished_at IS NULL
    )
LIMIT %(limit)s::int
FOR NO KEY UPDATE SKIP LOCKED
