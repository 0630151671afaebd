-- The groups for which nobody did what group_due.sql found: who should have died in between. The reconciler's; it looks
-- at every open group (group_open). No locks.
SELECT g.id FROM jobs_jobgroup AS g JOIN jobs_job AS p ON p.id = g.parent_id
WHERE g.closed_at IS NULL AND {{group_is_due}}
ORDER BY g.created_at
LIMIT %(limit)s::int
