-- Lock one open group: whoever lets its parent go on, and whoever retries one of its children, comes one after another.
-- Taken before the locks of any job's row.
SELECT id FROM jobs_jobgroup WHERE id = %(id)s::uuid AND closed_at IS NULL FOR UPDATE
