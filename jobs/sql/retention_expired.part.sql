-- Whether the policy of its type lets the job j go. -infinity: for ever. A job whose day has a partition of the log waits
-- until that is dropped (its lines then go with it), at most a day longer than the policy says; but not where it is too
-- many. What has ended since `floor` has not been counted yet.
j.finished_at < %(floor)s::timestamptz
AND (
    (j.created_at, j.id) <= (%(count_created_at)s::timestamptz, %(count_id)s::uuid)
    OR (
        j.finished_at < CASE WHEN j.status = 'failed' THEN %(failed_before)s::timestamptz ELSE %(ended_before)s::timestamptz END
        AND (
            j.created_at < date_trunc(
                'day',
                CASE WHEN j.status = 'failed' THEN %(failed_before)s::timestamptz ELSE %(ended_before)s::timestamptz END,
                'UTC'
            ) - interval '1 day'
            OR NOT EXISTS (
                SELECT FROM unnest(%(lowers)s::timestamptz[], %(uppers)s::timestamptz[]) AS day (lower, upper)
                WHERE j.created_at >= lower AND j.created_at < upper
            )
        )
    )
)
