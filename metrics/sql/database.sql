-- The database as it is now: its size in bytes, and its connections by what they do.
SELECT
    pg_database_size(current_database()) AS size_bytes,
    current_setting('max_connections')::int AS max_connections,
    count(*) FILTER (WHERE state = 'active') AS active,
    count(*) FILTER (WHERE state = 'idle') AS idle,
    count(*) FILTER (WHERE state IN ('idle in transaction', 'idle in transaction (aborted)')) AS in_transaction
FROM pg_stat_activity
WHERE datname = current_database()
