-- A job and all that it, and they, made: those on the queues that may be seen (null: all), at most `most`, level by
-- level. Below a job that may not be seen nothing is looked at. Served by group_is_one_phase_of_its_parent and
-- job_by_group. No locks.
WITH RECURSIVE tree AS (
    SELECT
        j.id, NULL::uuid AS parent_id, j.child_name AS name, j.type, j.queue, j.status, NULL::int AS series,
        NULL::int AS phase, j.created_at, j.finished_at, j.error ->> 'code' AS error_code
    FROM jobs_job AS j WHERE j.id = %(id)s::uuid
    UNION ALL
    SELECT
        c.id, tree.id, c.child_name, c.type, c.queue, c.status, g.series::int, g.phase::int, c.created_at, c.finished_at,
        c.error ->> 'code'
    FROM tree JOIN jobs_jobgroup AS g ON g.parent_id = tree.id JOIN jobs_job AS c ON c.group_id = g.id
    WHERE %(queues)s::text[] IS NULL OR c.queue = ANY (%(queues)s::text[])
),
shown AS MATERIALIZED (
    SELECT * FROM tree LIMIT %(most)s::int
)
SELECT
    shown.*,
    (SELECT COALESCE(sum(g.size), 0) FROM jobs_jobgroup AS g WHERE g.parent_id = shown.id)::int AS children,
    CASE WHEN %(queues)s::text[] IS NULL THEN 0 ELSE (
        SELECT count(*) FROM jobs_jobgroup AS g JOIN jobs_job AS c ON c.group_id = g.id
        WHERE g.parent_id = shown.id AND NOT c.queue = ANY (%(queues)s::text[])
    )::int END AS hidden
FROM shown
