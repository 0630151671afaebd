-- How many jobs somebody has begun to reopen, ever. Null: none.
SELECT pg_sequence_last_value('jobs_reopening'::regclass) AS number
