-- Whether a job made in a span of time is left whose log is to be kept: one that has not ended (job_by_status), or whose
-- type's policy keeps it (job_newest). policies: a JSON array, one entry with type null for all other types. No locks.
SELECT
    EXISTS (
        SELECT FROM jobs_job
        WHERE status IN ('queued', 'running')
            AND created_at >= %(lower)s::timestamptz AND created_at < %(upper)s::timestamptz
    )
    OR EXISTS (
        SELECT
        FROM jobs_job AS j
        JOIN jsonb_to_recordset(%(policies)s::jsonb) AS rest (type text, ended_before timestamptz, failed_before timestamptz)
            ON rest.type IS NULL
        LEFT JOIN jsonb_to_recordset(%(policies)s::jsonb) AS own (type text, ended_before timestamptz, failed_before timestamptz)
            ON own.type = j.type
        WHERE j.created_at >= %(lower)s::timestamptz AND j.created_at < %(upper)s::timestamptz
            AND j.finished_at >= CASE
                WHEN j.status = 'failed' THEN COALESCE(own.failed_before, rest.failed_before)
                ELSE COALESCE(own.ended_before, rest.ended_before)
            END
    ) AS is_kept
