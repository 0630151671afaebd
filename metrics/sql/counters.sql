-- Each counter's sum in a window that ends now, by queue (null: it does not know its own): minutes that have been counted,
-- then the rows themselves. How far has been counted is read here, so that nothing is in both.
-- queues: only counters of these; null for all. counted, uncounted: whether to look at either; without the first, the rows
-- of the whole window tell.
WITH span AS MATERIALIZED (
    SELECT
        CASE WHEN %(counted)s::boolean THEN GREATEST(counted_to, begins) ELSE begins END AS since,
        clock_timestamp() + interval '1 second' AS until, begins
    FROM metrics_progress, (SELECT clock_timestamp() - make_interval(secs => %(window_sec)s::int) AS begins) AS window_
),
{{happened}}
SELECT name, labels ->> 'queue' AS queue, sum(value)::bigint AS value
FROM (
    SELECT name, labels, value FROM metrics_count
    WHERE minute >= (SELECT begins FROM span) AND %(counted)s::boolean
    UNION ALL
    SELECT name, labels, value FROM happened WHERE %(uncounted)s::boolean
) AS all_of_them
WHERE %(queues)s::text[] IS NULL OR labels ->> 'queue' = ANY (%(queues)s::text[])
GROUP BY name, labels ->> 'queue'
ORDER BY name
