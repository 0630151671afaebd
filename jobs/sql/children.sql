-- What the handler of a job that goes on is given: each child of its newest group as it ended, in the order they were
-- made, and with the first one the group's state. Results are left out when all of them together have more than
-- max_bytes; total_bytes says so. Served by group_is_one_phase_of_its_parent and job_by_group. No locks.
SELECT
    id, name, type, status, error, total_bytes,
    CASE WHEN total_bytes <= %(max_bytes)s::bigint THEN
        CASE WHEN size_bytes IS NULL THEN result
            ELSE (SELECT l.content::jsonb FROM jobs_largeresult AS l WHERE l.job_id = child.id) END
    END AS result,
    CASE WHEN row_number() OVER (ORDER BY created_at, id) = 1 THEN state END AS state
FROM (
    SELECT
        c.id, c.child_name AS name, c.type, c.status, c.error, c.result, c.created_at, g.state,
        c.result_size_bytes AS size_bytes,
        COALESCE(sum(COALESCE(c.result_size_bytes, octet_length(c.result::text))) OVER (), 0) AS total_bytes
    FROM jobs_job AS p
    JOIN jobs_jobgroup AS g ON g.parent_id = p.id AND g.series = p.series AND g.phase = p.phase
    JOIN jobs_job AS c ON c.group_id = g.id
    WHERE p.id = %(id)s::uuid
) AS child
ORDER BY created_at, id
