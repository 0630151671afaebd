-- One filler a queue at a time (its limit counts over both pools), until the transaction ends. wait false: somebody else
-- is at it, so leave it to them. fill.sql reads in rauskuclaw.fills, which ends with the transaction, whose turn it is:
-- so the two can go in one round trip.
-- Where any type has a limit, which counts over all queues, also one filler of all at a time; always after the queue's
-- own lock, so nobody waits in a circle.
WITH own AS MATERIALIZED (
    SELECT CASE
        WHEN %(wait)s::boolean
            THEN (SELECT true FROM pg_advisory_xact_lock(hashtextextended('rauskuclaw:fill:' || %(queue)s::text, 0)))
        ELSE pg_try_advisory_xact_lock(hashtextextended('rauskuclaw:fill:' || %(queue)s::text, 0))
    END AS locked
)
SELECT
    set_config('rauskuclaw.fills', locked::text, true),
    CASE WHEN locked AND EXISTS (
        SELECT FROM jobs_jobtype
        WHERE max_running IS NOT NULL OR max_running_per_key IS NOT NULL OR rate_limit IS NOT NULL
    ) THEN (SELECT true FROM pg_advisory_xact_lock(hashtextextended('rauskuclaw:fill', 1))) END AS locked_all
FROM own
