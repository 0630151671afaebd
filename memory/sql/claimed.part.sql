UPDATE memory_memory m SET embed_after = now() + %(lease_sec)s::int * interval '1 second'
FROM due
WHERE m.id = due.id
RETURNING m.id, m.revision, m.scope, m.key, m.tags, m.value
