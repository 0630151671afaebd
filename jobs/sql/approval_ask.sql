-- Ask a person about jobs that were just made, in this transaction, with one dependency too many: it stands for the
-- person. The hash is of the rows as they are, so nothing that was sent can differ from what is shown. Locks: none.
INSERT INTO jobs_approval (
    job_id, state, reason, arguments_hash, requested_by, requested_at, expires_at, decided_by, note
)
SELECT
    j.id, 'pending', wanted.reason, {{arguments_hash}}, %(by)s::text, clock_timestamp(),
    clock_timestamp() + make_interval(secs => %(timeout_sec)s::double precision), '', ''
FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted (id uuid, reason text) JOIN jobs_job AS j ON j.id = wanted.id
RETURNING job_id AS id, reason, arguments_hash, expires_at
