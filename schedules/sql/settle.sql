-- What a batch came to: each schedule's next time and state, and a run for each due time that was dealt with.
-- In the transaction that claimed the schedules and made the jobs: all of it happens, or nothing.
-- The unique (schedule_id, due_at) refuses a second job for a due time, whatever went before; a run without a job may
-- still get one. schedules, runs: JSON arrays; a null last_* keeps what is there.
WITH moved AS (
    UPDATE schedules_schedule AS s
    SET next_run_at = new.next_run_at, due_at = new.due_at, enabled = s.enabled AND new.stopped = '',
        stopped = CASE WHEN new.stopped = '' THEN s.stopped ELSE new.stopped END,
        waiting_due_at = new.waiting_due_at, runs_made = s.runs_made + new.made,
        last_due_at = GREATEST(s.last_due_at, new.last_due_at),
        last_run_at = CASE WHEN new.ran THEN now() ELSE s.last_run_at END,
        last_job_id = COALESCE(new.last_job_id, s.last_job_id),
        last_error = CASE WHEN new.made > 0 THEN NULL ELSE COALESCE(new.last_error, s.last_error) END
    FROM jsonb_to_recordset(%(schedules)s::jsonb) AS new (
        id uuid, next_run_at timestamptz, due_at timestamptz, stopped text, waiting_due_at timestamptz, made int,
        last_due_at timestamptz, ran boolean, last_job_id uuid, last_error jsonb
    )
    WHERE s.id = new.id
    RETURNING s.id
),
noted AS (
    INSERT INTO schedules_run AS r (schedule_id, due_at, at, trigger, result, job_id, error)
    SELECT schedule_id, due_at, now(), trigger, result, job_id, error
    FROM jsonb_to_recordset(%(runs)s::jsonb) AS new (
        ord int, schedule_id uuid, due_at timestamptz, trigger text, result text, job_id uuid, error jsonb
    )
    ORDER BY ord
    ON CONFLICT (schedule_id, due_at) DO UPDATE
    SET at = EXCLUDED.at, result = EXCLUDED.result, error = EXCLUDED.error,
        -- A job that is there already makes this fail: run_has_a_job_iff_it_made_one.
        job_id = CASE WHEN r.job_id IS NULL THEN EXCLUDED.job_id END
    WHERE r.job_id IS NULL OR EXCLUDED.job_id IS NOT NULL
    RETURNING r.id
)
SELECT (SELECT count(*) FROM moved) AS schedules, (SELECT count(*) FROM noted) AS runs
