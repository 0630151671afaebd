-- Job types by their names, for submissions. version: changes with every UPDATE of the row, also within a transaction.
-- Served by the primary key. Locks: none.
SELECT
    name, enabled, handler, default_timeout_sec, default_max_attempts,
    retry_base_sec, retry_factor, retry_max_sec, retry_jitter, created_at, updated_at,
    ctid::text || '/' || xmin::text AS version
FROM jobs_jobtype WHERE name = ANY (%(names)s::text[])
