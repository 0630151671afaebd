-- Each counter's sum in a window that ends now, by queue (null: it does not know its own): whole minutes that are counted, then the rows themselves (from since).
-- queues: only counters of these queues; null for all. with_rows: whether rows count that nobody has counted yet.
WITH
{{happened}}
SELECT name, labels ->> 'queue' AS queue, sum(value)::bigint AS value
FROM (
    SELECT name, labels, value FROM metrics_count
    WHERE minute >= %(begins)s::timestamptz
    UNION ALL
    SELECT name, labels, value FROM happened WHERE %(with_rows)s::boolean
) AS all_of_them
WHERE %(queues)s::text[] IS NULL OR labels ->> 'queue' = ANY (%(queues)s::text[])
GROUP BY name, labels ->> 'queue'
ORDER BY name
