-- A model has become the one in use: memories without a vector in it have failed, those with one are ready.
-- Reads all memories, locks those that change.
UPDATE memory_memory m SET
    embedding_status = CASE WHEN found.has_vector THEN 'ready' ELSE 'failed' END,
    embedding_error = CASE WHEN found.has_vector THEN NULL
        ELSE %(error)s::jsonb || jsonb_build_object('at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
        END,
    embedded_at = CASE WHEN found.has_vector THEN now() END,
    embed_after = NULL
FROM (
    SELECT each.id, EXISTS (
        SELECT FROM memory_vector v
        WHERE v.memory_id = each.id AND v.space_id = %(space)s::int AND v.revision = each.revision
    ) AS has_vector
    FROM memory_memory each
) found
WHERE m.id = found.id AND CASE WHEN found.has_vector THEN m.embedding_status <> 'ready' ELSE m.embedding_status = 'ready' END
RETURNING m.id
