-- A node says it lives, renews the leases it holds, and hears which of them are not its own any more: those it names
-- and that do not come back. Also: how many jobs of its queues have waited in Redis for long.
-- Locks: the named rows, for the statement.
WITH node AS (
    INSERT INTO jobs_node (
        id, kind, name, host, pid, pid_created_at, pool, queues, concurrency, version, started_at, seen_at
    )
    VALUES (
        %(node)s::uuid, 'worker', %(name)s::text, %(host)s::text, %(pid)s::int, %(pid_created_at)s::float8, %(pool)s::text, %(queues)s::text[], %(concurrency)s::int, %(version)s::text,
        now(), now()
    )
    ON CONFLICT (id) DO UPDATE SET seen_at = now()
),
renewed AS (
    UPDATE jobs_job AS j
    SET lease_expires_at = now() + make_interval(secs => %(lease_sec)s::float8)
    FROM unnest(%(ids)s::uuid[], %(fences)s::int[]) AS held (id, fence)
    WHERE j.id = held.id AND j.fence = held.fence AND j.status = 'running' AND j.node = %(node)s::uuid
    RETURNING j.id
)
SELECT
    ARRAY(SELECT id::text FROM renewed) AS renewed,
    (
        SELECT count(*) FROM jobs_job
        WHERE queue = ANY (%(queues)s::text[]) AND pool = %(pool)s::text AND status = 'queued'
            AND published_at < now() - make_interval(secs => %(stuck_after_sec)s::float8)
    ) AS stuck
