-- Job types by their names, for every submission. Served by the primary key. Locks: none.
SELECT
    name, enabled, handler, default_timeout_sec, default_max_attempts,
    retry_base_sec, retry_factor, retry_max_sec, retry_jitter, created_at, updated_at
FROM jobs_jobtype WHERE name = ANY (%(names)s::text[])
