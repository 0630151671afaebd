-- Take published jobs that nobody has claimed out of their window: their messages then claim nothing, and fill.sql
-- decides about them anew. queue, type: null for any. paused: only those whose queue or type is paused.
-- Windows are small, so all of them are looked at (job_in_window). Locks: the jobs' rows, with SKIP LOCKED: one that is
-- being claimed runs.
WITH taken AS MATERIALIZED (
    SELECT j.id FROM jobs_job AS j
    WHERE j.status = 'queued' AND j.published_at IS NOT NULL
        AND (%(queue)s::text IS NULL OR j.queue = %(queue)s::text)
        AND (%(type)s::text IS NULL OR j.type = %(type)s::text)
        AND (
            NOT %(paused)s::boolean
            OR j.queue IN (SELECT name FROM jobs_queue WHERE paused)
            OR j.type IN (SELECT name FROM jobs_jobtype WHERE paused)
        )
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs_job SET published_at = NULL WHERE id = ANY (ARRAY(SELECT id FROM taken)) RETURNING id
