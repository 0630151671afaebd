-- Keep vectors of memories that still say what was embedded. Locks those memories: a write that comes meanwhile waits, and
-- makes another revision. rows: [{"id", "revision", "embedding": "[0.1,…]"}].
WITH made AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS it(id uuid, revision bigint, embedding text)
), held AS MATERIALIZED (
    SELECT m.id FROM memory_memory m JOIN made ON made.id = m.id AND made.revision = m.revision
    ORDER BY m.id
    FOR NO KEY UPDATE OF m
)
INSERT INTO memory_vector AS v (memory_id, space_id, revision, embedding)
SELECT made.id, %(space)s::int, made.revision, made.embedding::vector FROM made JOIN held ON held.id = made.id
ON CONFLICT (memory_id, space_id) DO UPDATE SET
    revision = excluded.revision, embedding = excluded.embedding, made_at = now()
RETURNING v.memory_id
