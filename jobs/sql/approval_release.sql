-- A person approves of a job, by the hash that was shown: it waits for one thing less, and its log says so. No row if
-- there is nothing to approve any more, nobody waits for the job any more, or it is not what was shown. Locks: the job's
-- row, then the approval's.
WITH released AS (
    UPDATE jobs_job AS j
    SET waiting_on = waiting_on - 1,
        available_at = CASE WHEN waiting_on = 1 THEN clock_timestamp() ELSE available_at END
    FROM jobs_approval AS a
    WHERE
        j.id = %(id)s::uuid AND j.status || '' = 'queued' AND j.waiting_on > 0
        AND a.job_id = j.id AND a.state = 'pending' AND a.expires_at > clock_timestamp()
        AND a.arguments_hash = %(arguments_hash)s::text AND a.arguments_hash = {{arguments_hash}}
        -- A parent that was cancelled cancels its children next: until then none of them may begin.
        AND EXISTS (
            SELECT FROM jobs_jobgroup AS g JOIN jobs_job AS p ON p.id = g.parent_id
            WHERE g.id = j.group_id AND p.status || '' = 'queued' AND p.series = g.series AND p.phase = g.phase
        )
    RETURNING j.id, j.created_at, j.queue, j.pool, j.waiting_on
),
decided AS (
    UPDATE jobs_approval AS a
    SET state = 'approved', decided_at = clock_timestamp(), decided_by = %(by)s::text, note = %(note)s::text
    FROM released WHERE a.job_id = released.id
),
line AS (
    INSERT INTO jobs_joblog (job_id, job_created_at, ts, level, message, meta)
    SELECT id, created_at, clock_timestamp(), 'info', 'Approved', jsonb_build_object('by', %(by)s::text) FROM released
)
SELECT id, queue, pool, waiting_on FROM released
