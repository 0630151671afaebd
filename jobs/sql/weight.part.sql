-- What a job takes of a window: a place, or where its handler is short, one of the parts that a place has.
CASE WHEN short THEN 1 ELSE %(short_per_place)s::int END
