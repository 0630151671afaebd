-- Queue the next memories, by id, for a model that is being filled: those with a vector in the model in use and none in
-- this one. Locks those rows and the space's. Served by the primary keys.
WITH space AS (
    SELECT id, COALESCE(marked_to, '00000000-0000-0000-0000-000000000000'::uuid) AS marked_to
    FROM memory_space WHERE id = %(space)s::int AND state = 'building' FOR UPDATE
), step AS MATERIALIZED (
    SELECT m.id FROM memory_memory m, space
    WHERE m.id > space.marked_to
    ORDER BY m.id
    LIMIT %(limit)s::int
), marked AS (
    UPDATE memory_memory m SET embed_after = now(), embed_tries = 0
    FROM step
    WHERE m.id = step.id AND m.embedding_status = 'ready' AND m.embed_after IS NULL
        AND NOT EXISTS (
            SELECT FROM memory_vector v
            WHERE v.memory_id = m.id AND v.space_id = %(space)s::int AND v.revision = m.revision
        )
)
UPDATE memory_space s SET
    marked_to = COALESCE((SELECT id FROM step ORDER BY id DESC LIMIT 1), s.marked_to),
    is_marked = (SELECT count(*) FROM step) < %(limit)s::int
FROM space
WHERE s.id = space.id
RETURNING s.is_marked
