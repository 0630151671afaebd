-- Whether something is to be done for the open group g of the parent p: let p go on, fail it, or, when p does not wait
-- for the group any more, cancel what is left of it and close it. Four probes of job_by_group at most.
-- LIMIT 1 and not EXISTS, for which the planner would hash all open jobs that there are.
(
    NOT (p.status = 'queued' AND p.waiting_on > 0 AND p.series = g.series AND p.phase = g.phase)
    OR (SELECT c.id FROM jobs_job AS c WHERE c.group_id = g.id AND c.status IN ('queued', 'running') LIMIT 1) IS NULL
    OR (
        g.on_failure = 'fail' AND (
            SELECT c.id FROM jobs_job AS c WHERE c.group_id = g.id AND c.status IN ('failed', 'cancelled') LIMIT 1
        ) IS NOT NULL
    )
)
