-- Whether one group has something to be done. Run after each end of one of its jobs, in a statement that begins after
-- that end's commit: so of two children that end at once the later sees both ends, and no counter is needed. No locks.
SELECT g.id FROM jobs_jobgroup AS g JOIN jobs_job AS p ON p.id = g.parent_id
WHERE g.id = %(id)s::uuid AND g.closed_at IS NULL AND {{group_is_due}}
