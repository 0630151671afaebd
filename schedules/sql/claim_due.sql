-- The enabled schedules whose time has come, the longest due first, for the rest of the transaction.
-- Locks: their rows. What another tick has in hand is skipped, so any number may run at once. The clock is Postgres'.
-- Index: schedule_due.
SELECT
{{facts}}
FROM schedules_schedule AS s
WHERE s.enabled AND s.next_run_at <= now()
ORDER BY s.next_run_at, s.id
LIMIT %(limit)s::int
FOR NO KEY UPDATE SKIP LOCKED
