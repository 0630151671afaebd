-- Count something that no row tells of, now. Locks: the counter's two rows, for the statement.
WITH by_minute AS (
    INSERT INTO metrics_count AS c (minute, name, labels, value)
    VALUES (date_trunc('minute', now()), %(name)s::text, %(labels)s::jsonb, %(count)s::bigint)
    ON CONFLICT (minute, name, labels) DO UPDATE SET value = c.value + EXCLUDED.value
)
INSERT INTO metrics_total AS t (name, labels, value) VALUES (%(name)s::text, %(labels)s::jsonb, %(count)s::bigint)
ON CONFLICT (name, labels) DO UPDATE SET value = t.value + EXCLUDED.value
RETURNING value
