-- A dependency has succeeded: its dependants wait for one less. Rows are locked in id order, so two dependencies that
-- end at once cannot deadlock; the decrement reads the newest row, so neither is forgotten.
WITH waiting AS MATERIALIZED (
    SELECT j.id
    FROM jobs_job AS j JOIN jobs_jobdependency AS d ON d.job_id = j.id
    WHERE d.depends_on_id = %(id)s::uuid AND j.status = 'queued'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE jobs_job
SET waiting_on = waiting_on - 1,
    available_at = CASE WHEN waiting_on = 1 THEN clock_timestamp() ELSE available_at END
FROM waiting WHERE jobs_job.id = waiting.id AND jobs_job.status = 'queued'
RETURNING jobs_job.id, jobs_job.queue, jobs_job.pool, jobs_job.waiting_on
