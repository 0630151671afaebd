-- Which of these jobs, that the caller has locked in an EARLIER statement, somebody still needs: a job that waits for it, or
-- may be retried and then would; the parent that waits for its group; its own children, which go before it; a callback that
-- has not been settled or counted; a living Idempotency-Key; a debounce or a rate limit of the last day. Each is one probe
-- of an index. No locks.
SELECT j.id
FROM jobs_job AS j
WHERE j.id = ANY (%(ids)s::uuid[])
    AND (
        EXISTS (
            SELECT FROM jobs_jobdependency AS d JOIN jobs_job AS w ON w.id = d.job_id
            WHERE d.depends_on_id = j.id
                AND (w.finished_at IS NULL OR (j.status <> 'succeeded' AND w.status <> 'succeeded'))
        )
        OR EXISTS (
            SELECT FROM jobs_jobgroup AS g JOIN jobs_job AS p ON p.id = g.parent_id
            WHERE g.id = j.group_id AND (g.closed_at IS NULL OR p.finished_at IS NULL)
        )
        OR EXISTS (
            SELECT FROM jobs_jobgroup AS g JOIN jobs_job AS c ON c.group_id = g.id WHERE g.parent_id = j.id
        )
        OR EXISTS (
            SELECT FROM jobs_callbackdelivery AS c
            WHERE c.job_id = j.id
                AND (c.state = 'pending' OR GREATEST(c.next_try_at, c.delivered_at) >= %(floor)s::timestamptz)
        )
        OR EXISTS (SELECT FROM jobs_idempotencykey AS k WHERE k.job_id = j.id AND k.expires_at > now())
        OR (j.unique_key <> '' AND j.created_at > now() - interval '1 day')
        OR EXISTS (
            SELECT FROM jobs_attempt AS a
            WHERE a.job_id = j.id AND a.rate_key IS NOT NULL AND a.started_at > now() - interval '1 day'
        )
    )
