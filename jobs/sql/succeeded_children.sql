-- The children of a job that have succeeded, of all its series, in the order they were made. Results are left out when all
-- of them together have more than max_bytes; total_bytes says so. Served by group_is_one_phase_of_its_parent and
-- job_by_group. No locks.
SELECT
    id, name, type, input, is_of_this_series, total_bytes,
    CASE WHEN total_bytes <= %(max_bytes)s::bigint THEN
        CASE WHEN size_bytes IS NULL THEN result
            ELSE (SELECT l.content::jsonb FROM jobs_largeresult AS l WHERE l.job_id = child.id) END
    END AS result
FROM (
    SELECT
        c.id, c.child_name AS name, c.type, c.input, c.result, c.created_at, g.series = p.series AS is_of_this_series,
        c.result_size_bytes AS size_bytes,
        COALESCE(sum(COALESCE(c.result_size_bytes, octet_length(c.result::text))) OVER (), 0) AS total_bytes
    FROM jobs_job AS p
    JOIN jobs_jobgroup AS g ON g.parent_id = p.id
    JOIN jobs_job AS c ON c.group_id = g.id AND c.status = 'succeeded'
    WHERE p.id = %(id)s::uuid
) AS child
ORDER BY created_at, id
