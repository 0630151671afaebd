-- After vectors were saved: memories with one in the model in use are ready; those with one in every live model need no
-- job any more. rows: [{"id", "revision"}]. Locks those rows. Served by the primary keys.
UPDATE memory_memory m SET
    embedding_status = 'ready', embedded_at = now(), embedding_error = NULL, embed_tries = 0,
    embed_after = CASE WHEN EXISTS (
        SELECT FROM memory_space s
        WHERE s.state = 'building' AND NOT EXISTS (
            SELECT FROM memory_vector v WHERE v.memory_id = m.id AND v.space_id = s.id AND v.revision = m.revision
        )
    ) THEN m.embed_after END
FROM jsonb_to_recordset(%(rows)s::jsonb) AS it(id uuid, revision bigint)
WHERE m.id = it.id AND m.revision = it.revision AND EXISTS (
    SELECT FROM memory_vector v JOIN memory_space s ON s.id = v.space_id AND s.state = 'active'
    WHERE v.memory_id = m.id AND v.revision = m.revision
)
RETURNING m.id
