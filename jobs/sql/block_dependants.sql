-- A dependency has failed or was cancelled: its queued dependants can never run, so they fail, with attempts as they are.
-- Rows are locked in id order. The caller goes on with the dependants of those returned.
WITH blocked AS MATERIALIZED (
    SELECT
        j.id,
        (SELECT jsonb_agg(a.depends_on_id ORDER BY a.id) FROM jobs_jobdependency AS a WHERE a.job_id = j.id) AS depends_on
    FROM jobs_job AS j
    WHERE j.status = 'queued'
        AND (
            j.id = ANY (%(blocked_ids)s::uuid[])
            OR EXISTS (
                SELECT FROM jobs_jobdependency AS d WHERE d.job_id = j.id AND d.depends_on_id = ANY (%(failed_ids)s::uuid[])
            )
        )
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
),
ended AS (
    UPDATE jobs_job
    SET status = 'failed', finished_at = clock_timestamp(), updated_at = clock_timestamp(), published_at = NULL,
        error = jsonb_build_object(
            'message', 'a job that this one depends on is missing, failed or was cancelled',
            'code', 'DEPENDENCY_BLOCKED',
            'details', jsonb_build_object(
                'depends_on', COALESCE(jobs_job.input -> 'depends_on', blocked.depends_on, '[]'::jsonb),
                'missing_dependencies', %(missing)s::jsonb,
                'failed_dependencies', (
                    SELECT COALESCE(jsonb_agg(f.id ORDER BY f.id), '[]'::jsonb)
                    FROM jobs_jobdependency AS d JOIN jobs_job AS f ON f.id = d.depends_on_id
                    WHERE d.job_id = jobs_job.id AND (f.status IN ('failed', 'cancelled') OR f.id = ANY (%(failed_ids)s::uuid[]))
                )
            ),
            'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        )
    FROM blocked WHERE jobs_job.id = blocked.id AND jobs_job.status = 'queued'
    RETURNING jobs_job.*
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, updated_at, 'error', 'Dependency blocked job', error -> 'details' FROM ended
),
{{callback}}
SELECT id, has_dependants, group_id FROM ended
