-- Count what happened in whole minutes, for good: by the minute and in total. The caller holds the row of Progress.
WITH span AS MATERIALIZED (
    SELECT %(since)s::timestamptz AS since, %(until)s::timestamptz AS until
),
{{happened}},
by_minute AS (
    INSERT INTO metrics_count (minute, name, labels, value) SELECT minute, name, labels, value FROM happened
    ON CONFLICT (minute, name, labels) DO UPDATE SET value = EXCLUDED.value
    RETURNING id
),
in_total AS (
    INSERT INTO metrics_total AS t (name, labels, value) SELECT name, labels, value FROM everything
    ON CONFLICT (name, labels) DO UPDATE SET value = t.value + EXCLUDED.value
    RETURNING id
)
UPDATE metrics_progress SET counted_to = %(until)s::timestamptz
RETURNING (SELECT count(*) FROM by_minute) AS counts, (SELECT count(*) FROM in_total) AS totals
