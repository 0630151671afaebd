-- Queue memories that nobody was to embed when they were written, a batch at a time. Served by memory_not_ready.
UPDATE memory_memory SET embed_after = now()
WHERE id IN (
    SELECT id FROM memory_memory
    WHERE embedding_status = 'pending' AND embed_after IS NULL
    LIMIT %(limit)s::int
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id
