-- Job types by their names, for submissions. version: changes with every UPDATE of the row, also within a transaction.
-- Served by the primary key. Locks: none.
SELECT {{type.*}}, type.ctid::text || '/' || type.xmin::text AS version FROM jobs_jobtype AS type WHERE name = ANY (%(names)s::text[])
