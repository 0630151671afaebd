-- No vectors could be made: memories that have none have failed. Tried again after 5, 10, 20… seconds, at most an hour, or
-- never. rows: [{"id", "revision"}]. Locks those rows.
UPDATE memory_memory m SET
    embedding_status = CASE m.embedding_status WHEN 'ready' THEN 'ready' ELSE 'failed' END,
    embedding_error = CASE m.embedding_status WHEN 'ready' THEN NULL ELSE %(error)s::jsonb END,
    embed_tries = LEAST(m.embed_tries + 1, 1000),
    embed_after = CASE WHEN %(retry)s::boolean AND m.embed_tries < %(max_tries)s::int
        THEN now() + LEAST(3600, 5 * 2 ^ LEAST(m.embed_tries, 10)) * interval '1 second' END
FROM jsonb_to_recordset(%(rows)s::jsonb) AS it(id uuid, revision bigint)
WHERE m.id = it.id AND m.revision = it.revision
RETURNING m.id
