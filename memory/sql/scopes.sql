-- The scopes whose name holds `text`, in numbers, last updated first. Finds the names by leaps through memory_by_state, the
-- newest memory of each by memory_newest_of_scope, and counts those that are shown, by memory_by_state alone.
WITH RECURSIVE named AS (
    (SELECT scope FROM memory_memory ORDER BY scope LIMIT 1)
    UNION ALL
    SELECT (SELECT m.scope FROM memory_memory m WHERE m.scope > named.scope ORDER BY m.scope LIMIT 1)
    FROM named WHERE named.scope IS NOT NULL
), shown AS MATERIALIZED (
    SELECT named.scope, newest.updated_at
    FROM named CROSS JOIN LATERAL (
        SELECT m.updated_at FROM memory_memory m
        WHERE m.scope = named.scope
            AND (%(include_expired)s::boolean OR m.expires_at IS NULL OR m.expires_at > now())
        ORDER BY m.updated_at DESC
        LIMIT 1
    ) newest
    WHERE strpos(named.scope, lower(%(text)s)) > 0
    ORDER BY newest.updated_at DESC, named.scope
    LIMIT %(limit)s::int
)
SELECT shown.scope, counted.*, shown.updated_at AS latest_updated_at
FROM shown CROSS JOIN LATERAL (
    SELECT count(*) AS total_count,
        count(*) FILTER (WHERE m.embedding_status = 'ready') AS ready_count,
        count(*) FILTER (WHERE m.embedding_status = 'pending') AS pending_count,
        count(*) FILTER (WHERE m.embedding_status = 'failed') AS failed_count
    FROM memory_memory m
    WHERE m.scope = shown.scope
        AND (%(include_expired)s::boolean OR m.expires_at IS NULL OR m.expires_at > now())
) counted
ORDER BY shown.updated_at DESC, shown.scope
