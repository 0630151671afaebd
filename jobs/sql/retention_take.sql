-- Look at the next jobs of a type, the oldest first, from a place on (job_by_type), and lock those that its policy lets go.
-- One row: where it ended, how many it looked at, and the ids. Locks: these jobs' rows, with SKIP LOCKED.
WITH looked_at AS MATERIALIZED (
    SELECT id, created_at FROM jobs_job
    WHERE type = %(type)s::text AND created_at < %(created_before)s::timestamptz
        AND (created_at, id) > (%(after_created_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY created_at, id
    LIMIT %(limit)s::int
),
taken AS MATERIALIZED (
    SELECT j.id FROM jobs_job AS j
    WHERE j.id = ANY (ARRAY(SELECT id FROM looked_at)) AND {{retention_expired}}
    FOR UPDATE SKIP LOCKED
),
last_one AS (
    SELECT id, created_at FROM looked_at ORDER BY created_at DESC, id DESC LIMIT 1
)
SELECT
    (SELECT count(*) FROM looked_at) AS looked_at, (SELECT created_at FROM last_one) AS created_at,
    (SELECT id FROM last_one) AS id, ARRAY(SELECT id FROM taken) AS ids
