-- The outbox row of a job that has ended: put in by the statement that ends it, whose CTE `ended` has the job's columns.
-- A result that is kept apart is put into the payload when that is sent.
callback AS (
    INSERT INTO jobs_callbackdelivery (job_id, series, url, payload, state, created_at, next_try_at, trace)
    SELECT
        id, series, callback_url,
        jsonb_build_object(
            'id', id, 'type', type, 'status', status, 'attempts', attempts, 'max_attempts', max_attempts,
            'result', result, 'error', error,
            'updated_at', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        ) || CASE WHEN result_size_bytes IS NULL THEN '{}' ELSE jsonb_build_object('result_size_bytes', result_size_bytes) END,
        'pending', updated_at, updated_at, trace
    FROM ended WHERE finished_at IS NOT NULL AND callback_url IS NOT NULL
    ON CONFLICT DO NOTHING
)
