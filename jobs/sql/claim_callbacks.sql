-- Take due callbacks for delivery: the claim is the next try, pushed so far that it only comes true if we die.
-- One host's backlog must not fill every slot: hosts take turns, each at most per_host times, busy hosts not at all.
-- Served by callback_due. Locks: the rows taken, SKIP LOCKED; a row taken meanwhile is no longer due when rechecked.
WITH due AS (
    SELECT id, next_try_at, split_part(url, '/', 3) AS authority FROM jobs_callbackdelivery
    WHERE state = 'pending' AND next_try_at <= statement_timestamp() AND split_part(url, '/', 3) <> ALL (%(busy)s::text[])
    ORDER BY next_try_at
    LIMIT 1000
),
ranked AS (
    SELECT id, row_number() OVER (PARTITION BY authority ORDER BY next_try_at, id) AS turn FROM due
),
chosen AS MATERIALIZED (
    SELECT id FROM jobs_callbackdelivery AS delivery JOIN ranked USING (id)
    WHERE turn <= %(per_host)s AND state = 'pending' AND delivery.next_try_at <= statement_timestamp()
    ORDER BY turn, delivery.next_try_at
    LIMIT %(limit)s
    FOR UPDATE OF delivery SKIP LOCKED
)
UPDATE jobs_callbackdelivery SET next_try_at = statement_timestamp() + make_interval(secs => %(claim_sec)s) FROM chosen
WHERE jobs_callbackdelivery.id = chosen.id
RETURNING jobs_callbackdelivery.*
