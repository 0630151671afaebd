-- Taken by whoever drops a partition of the log, until the commit: false while somebody reopens a job (log_is_wanted.sql).
SELECT pg_try_advisory_xact_lock(118999881839) AS is_mine
