-- Replace the working memory of a session, or begin it. Locks its row.
INSERT INTO memory_session (id, state, expires_at, written_by)
VALUES (%(id)s, %(state)s::jsonb, now() + %(ttl_sec)s::int * interval '1 second', %(written_by)s)
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, expires_at = excluded.expires_at, written_by = excluded.written_by, updated_at = now()
RETURNING id
