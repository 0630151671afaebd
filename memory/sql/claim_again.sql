-- As claim.sql, of those that have a vector and are to get one by another model. Served by memory_to_embed_again.
WITH due AS (
    SELECT id FROM memory_memory
    WHERE embed_after <= now() AND embedding_status = 'ready' AND (expires_at IS NULL OR expires_at > now())
    ORDER BY embed_after
    LIMIT %(limit)s::int
    FOR NO KEY UPDATE SKIP LOCKED
)
{{claimed}}
