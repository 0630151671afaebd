-- One filler a queue at a time, until the transaction ends. wait false: somebody else is at it, so leave it to them.
SELECT CASE
    WHEN %(wait)s::boolean THEN (SELECT true FROM pg_advisory_xact_lock(hashtextextended('rauskuclaw:fill:' || %(queue)s::text, 0)))
    ELSE pg_try_advisory_xact_lock(hashtextextended('rauskuclaw:fill:' || %(queue)s::text, 0))
END AS locked
