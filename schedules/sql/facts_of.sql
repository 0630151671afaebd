-- What a tick needs to know of one schedule, which the caller has locked. Index: the primary key.
SELECT
{{facts}}
FROM schedules_schedule AS s
WHERE s.id = %(id)s::uuid
