-- Each counter's sum since counting began: what has been counted, then the rows themselves. How far has been counted is read
-- here, so that nothing is in both and no total ever falls. uncounted: whether rows count that nobody has counted.
WITH span AS MATERIALIZED (
    SELECT counted_to AS since, clock_timestamp() + interval '1 second' AS until FROM metrics_progress
),
{{happened}}
SELECT name, labels, sum(value)::bigint AS value
FROM (
    SELECT name, labels, value FROM metrics_total
    UNION ALL
    SELECT name, labels, value FROM everything WHERE %(uncounted)s::boolean
) AS all_of_them
GROUP BY name, labels
ORDER BY name, labels
