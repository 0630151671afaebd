-- As claim.sql, of one memory, whoever else may have taken it: its own job is to say what came of it.
WITH due AS (
    SELECT id FROM memory_memory
    WHERE id = %(id)s::uuid AND (embedding_status <> 'ready' OR embed_after IS NOT NULL)
    FOR NO KEY UPDATE
)
{{claimed}}
