-- Delete jobs that the caller has locked, with all that belongs to them, and note how many there were of each status: all
-- or nothing. Locks: the rows deleted.
WITH gone AS MATERIALIZED (
    SELECT id, created_at, queue, status FROM jobs_job WHERE id = ANY (%(ids)s::uuid[])
),
lines AS (
    DELETE FROM jobs_joblog AS l USING gone WHERE l.job_id = gone.id AND l.job_created_at = gone.created_at RETURNING 1
),
attempts AS (
    DELETE FROM jobs_attempt WHERE job_id = ANY (%(ids)s::uuid[]) RETURNING 1
),
keys AS (
    DELETE FROM jobs_idempotencykey WHERE job_id = ANY (%(ids)s::uuid[])
),
deliveries AS (
    DELETE FROM jobs_callbackdelivery WHERE job_id = ANY (%(ids)s::uuid[]) RETURNING 1
),
dependencies AS (
    DELETE FROM jobs_jobdependency WHERE job_id = ANY (%(ids)s::uuid[]) OR depends_on_id = ANY (%(ids)s::uuid[])
),
groups AS (
    DELETE FROM jobs_jobgroup WHERE parent_id = ANY (%(ids)s::uuid[])
),
counted AS (
    INSERT INTO jobs_prunedjobs AS p (queue, status, count)
    SELECT queue, status, count(*) FROM gone GROUP BY queue, status ORDER BY queue, status
    ON CONFLICT (queue, status) DO UPDATE SET count = p.count + EXCLUDED.count
),
approvals AS (
    DELETE FROM jobs_approval WHERE job_id = ANY (%(ids)s::uuid[])
),
large_results AS (
    DELETE FROM jobs_largeresult WHERE job_id = ANY (%(ids)s::uuid[])
),
deleted AS (
    DELETE FROM jobs_job WHERE id = ANY (%(ids)s::uuid[]) RETURNING 1
)
SELECT
    (SELECT count(*) FROM deleted) AS jobs, (SELECT count(*) FROM lines) AS log_lines,
    (SELECT count(*) FROM attempts) AS attempts, (SELECT count(*) FROM deliveries) AS callbacks
