-- End a running attempt whose job now waits for children: running → queued, with the group that the caller makes them
-- in (in this transaction), its log lines and its attempt row. The attempt does not count: it did not fail, and with
-- max_attempts 1 there must be one to go on with. No row comes back for a stale attempt.
-- Locks: the job's row.
-- status || '' keeps the planner on the primary key: the indexes that start with a status are full of dead entries.
WITH ended AS (
    UPDATE jobs_job
    SET status = 'queued', attempts = attempts - 1, phase = phase + 1, waiting_on = 1, progress = NULL,
        updated_at = clock_timestamp(), locked_by = '', node = NULL, lease_expires_at = NULL
    WHERE id = %(id)s::uuid AND status || '' = 'running' AND fence = %(fence)s::int
    RETURNING *
),
made AS (
    INSERT INTO jobs_jobgroup (id, parent_id, series, phase, depth, on_failure, state, size, created_at)
    SELECT
        %(group)s::uuid, id, series, phase, %(depth)s::int, %(on_failure)s::text, %(state)s::jsonb, %(size)s::int,
        updated_at
    FROM ended
),
attempt AS (
    UPDATE jobs_attempt AS a
    SET outcome = 'suspended', ended_at = ended.updated_at,
        ran_ms = GREATEST(0, (EXTRACT(EPOCH FROM ended.updated_at - a.started_at) * 1000)::bigint)
    FROM ended
    WHERE a.job_id = ended.id AND a.number = ended.fence
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT ended.id, ended.created_at, COALESCE(l.ts, ended.updated_at), l.level, l.message, l.meta
    FROM ended, jsonb_to_recordset(%(lines)s::jsonb) AS l (ord int, ts timestamptz, level text, message text, meta jsonb)
    ORDER BY l.ord
)
SELECT id FROM ended
