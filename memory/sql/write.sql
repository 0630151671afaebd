-- Write a memory: insert, or replace what its scope and key hold. Keeps id and created_at, forgets the embedding's state;
-- the old vector stays until there is a new one, and is not searched: it is of another revision.
-- Locks that row. Served by memory_is_one_for_each_scope_and_key.
INSERT INTO memory_memory AS m (
    id, scope, key, value, tags, words, expires_at, written_by, job_id, trusted, embed_after
)
VALUES (
    %(id)s::uuid, %(scope)s, %(key)s, %(value)s::jsonb, %(tags)s::text[], %(words)s,
    now() + %(ttl_sec)s::int * interval '1 second', %(written_by)s, %(job_id)s::uuid, %(trusted)s::boolean,
    CASE WHEN %(embed)s::boolean THEN now() END
)
ON CONFLICT (scope, key) DO UPDATE SET
    value = excluded.value, tags = excluded.tags, words = excluded.words, expires_at = excluded.expires_at,
    written_by = excluded.written_by, job_id = excluded.job_id, trusted = excluded.trusted,
    updated_at = now(), revision = m.revision + 1,
    embedding_status = 'pending', embedding_error = NULL, embedded_at = NULL,
    embed_after = excluded.embed_after, embed_tries = 0
RETURNING m.id
