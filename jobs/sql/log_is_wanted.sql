-- Called by whoever reopens a job: no partition of the log is dropped until the commit, nor on an answer that was found
-- before (reopenings.sql). The lock is shared, so those who reopen do not wait for each other.
SELECT pg_advisory_xact_lock_shared(118999881839), nextval('jobs_reopening')
