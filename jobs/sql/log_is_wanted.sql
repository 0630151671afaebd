-- Taken by whoever reopens a job, until the commit: no partition of the log is dropped between the question whether its
-- jobs are over and the answer. Shared, so those who reopen do not wait for each other.
SELECT pg_advisory_xact_lock_shared(118999881839)
