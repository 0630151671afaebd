-- Note how large the database is, at a minute.
INSERT INTO metrics_level (name, minute, value)
VALUES (%(name)s::text, %(minute)s::timestamptz, pg_database_size(current_database()) / 1048576)
ON CONFLICT (name, minute) DO UPDATE SET value = EXCLUDED.value
RETURNING value
