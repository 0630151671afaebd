-- Delete a batch of what has expired. Skips rows that somebody holds: the next run takes them.
-- Served by session_expiring.
DELETE FROM memory_session WHERE id IN (
    SELECT id FROM memory_session
    WHERE expires_at <= now()
    ORDER BY expires_at
    LIMIT %(limit)s::int
    FOR UPDATE SKIP LOCKED
)
RETURNING id
