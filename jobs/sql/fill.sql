-- What runs next: publish the best due jobs of one queue into its bounded window. THE place that decides order.
-- Order: priority, then age. Served by job_to_publish (queue, priority desc, created_at, id) and job_in_window.
-- Locks: the caller holds the queue's advisory lock (fill_lock.sql) since an EARLIER statement: one filler at a time, and
-- this statement's snapshot sees what the one before it published. Rows with SKIP LOCKED.
WITH room AS MATERIALIZED (
    SELECT GREATEST(
        %(window_min)s::int,
        %(window_factor)s::int * (
            SELECT COALESCE(sum(concurrency), 0) FROM jobs_node
            WHERE kind = 'worker' AND %(queue)s::text = ANY (queues)
                AND seen_at > now() - make_interval(secs => %(node_ttl_sec)s::float8)
        )
    ) - (
        SELECT count(*) FROM jobs_job
        WHERE queue = %(queue)s::text AND status = 'queued' AND published_at IS NOT NULL
    ) AS free
),
next AS MATERIALIZED (
    SELECT id FROM jobs_job
    WHERE queue = %(queue)s::text AND status = 'queued' AND published_at IS NULL AND waiting_on = 0 AND available_at <= now()
    ORDER BY priority DESC, created_at, id
    LIMIT GREATEST(0, (SELECT free FROM room))
    FOR UPDATE SKIP LOCKED
),
published AS (
    UPDATE jobs_job SET published_at = clock_timestamp() FROM next
    WHERE jobs_job.id = next.id
    RETURNING jobs_job.*
)
SELECT id, queue, fence, priority, timeout_sec FROM published ORDER BY priority DESC, created_at, id
