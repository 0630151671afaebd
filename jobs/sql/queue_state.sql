-- How busy a queue is, seen from one of its jobs: jobs to be published before it, jobs in the window, jobs running.
-- The order is fill.sql's, but for turns between keys. Counting stops at %(most)s, so the cost does not grow with the backlog.
-- Served by job_to_publish, job_in_window and job_leased. Locks: none.
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM jobs_job
            WHERE queue = %(queue)s AND status = 'queued' AND published_at IS NULL AND waiting_on = 0
                AND available_at <= now() AND (turn_at, id) < (%(turn_at)s, %(id)s)
            LIMIT %(most)s
        ) AS better
    ) AS ahead,
    (
        SELECT count(*) FROM (
            SELECT FROM jobs_job
            WHERE queue = %(queue)s AND status = 'queued' AND published_at IS NOT NULL AND id <> %(id)s
            LIMIT %(most)s
        ) AS published
    ) AS in_window,
    (SELECT count(*) FROM jobs_job WHERE status = 'running' AND queue = %(queue)s) AS running
