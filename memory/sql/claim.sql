-- Take memories that wait for their embedding, for a while: who dies with them leaves them to the next.
-- Locks them for the statement, skips what others hold. Served by memory_to_embed.
WITH due AS (
    SELECT id FROM memory_memory
    WHERE embed_after <= now() AND embedding_status <> 'ready' AND (expires_at IS NULL OR expires_at > now())
    ORDER BY embed_after
    LIMIT %(limit)s::int
    FOR NO KEY UPDATE SKIP LOCKED
)
{{claimed}}
