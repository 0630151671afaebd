-- What a group's children have come to, told to the parent if it waits for them: it goes on (queued, to be claimed)
-- when none is open; it fails with CHILD_FAILED when it needs all of them and one has failed or was cancelled. With log
-- line and callback. The group is closed when nothing is left to do. One row, none for a closed group.
-- Locks: the parent's row. The caller has locked the group in an EARLIER statement, so what is read here is newer.
WITH grp AS MATERIALIZED (
    SELECT
        g.*,
        p.status = 'queued' AND p.waiting_on > 0 AND p.series = g.series AND p.phase = g.phase AS is_awaited,
        (
            SELECT c.id FROM jobs_job AS c WHERE c.group_id = g.id AND c.status IN ('queued', 'running') LIMIT 1
        ) IS NOT NULL AS has_open
    FROM jobs_jobgroup AS g JOIN jobs_job AS p ON p.id = g.parent_id
    WHERE g.id = %(id)s::uuid AND g.closed_at IS NULL
),
culprit AS MATERIALIZED (
    SELECT c.id, c.child_name, c.type, c.status, c.error
    FROM grp JOIN jobs_job AS c ON c.group_id = grp.id
    WHERE grp.on_failure = 'fail' AND c.status IN ('failed', 'cancelled')
    ORDER BY c.finished_at, c.id
    LIMIT 1
),
ended AS (
    UPDATE jobs_job
    SET waiting_on = 0, updated_at = clock_timestamp(), available_at = clock_timestamp(),
        status = CASE WHEN culprit.id IS NULL THEN 'queued' ELSE 'failed' END,
        finished_at = CASE WHEN culprit.id IS NOT NULL THEN clock_timestamp() END,
        error = CASE WHEN culprit.id IS NULL THEN jobs_job.error ELSE jsonb_build_object(
            'message', 'a job that this one made has failed or was cancelled',
            'code', 'CHILD_FAILED',
            'details', jsonb_build_object(
                'child', culprit.id, 'name', culprit.child_name, 'type', culprit.type, 'status', culprit.status,
                'error', culprit.error
            ),
            'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        ) END
    FROM grp LEFT JOIN culprit ON true
    WHERE jobs_job.id = grp.parent_id AND (culprit.id IS NOT NULL OR NOT grp.has_open)
        AND jobs_job.status = 'queued' AND jobs_job.waiting_on > 0
        AND jobs_job.series = grp.series AND jobs_job.phase = grp.phase
    RETURNING jobs_job.*
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT
        ended.id, ended.created_at, ended.updated_at,
        CASE WHEN ended.status = 'failed' THEN 'error' ELSE 'info' END,
        CASE WHEN ended.status = 'failed' THEN 'Child failed' ELSE 'Children have ended' END,
        CASE WHEN ended.status = 'failed' THEN ended.error -> 'details'
            ELSE jsonb_build_object('phase', grp.phase, 'jobs', grp.size) END
    FROM ended, grp
),
{{callback}},
closed AS (
    UPDATE jobs_jobgroup SET closed_at = clock_timestamp()
    FROM grp
    WHERE jobs_jobgroup.id = grp.id AND NOT grp.has_open AND (NOT grp.is_awaited OR EXISTS (SELECT FROM ended))
)
SELECT
    grp.parent_id, ended.status, ended.queue, ended.pool, ended.group_id, COALESCE(ended.has_dependants, false) AS has_dependants,
    ended.finished_at IS NOT NULL AND ended.callback_url IS NOT NULL AS calls_back,
    grp.has_open AND (NOT grp.is_awaited OR ended.status IS NOT DISTINCT FROM 'failed') AS has_orphans
FROM grp LEFT JOIN ended ON true
