    s.id, s.name, s.type, s.queue, s.input, s.priority, s.timeout_sec, s.max_attempts, s.tags, s.callback_url, s.flow,
    s.interval_sec, s.cron, s.time_zone, s.due_at, s.last_due_at, s.waiting_due_at, s.ends_at, s.jitter_sec, s.missed,
    s.catch_up_max, s.overlap, s.pause_after_failures, s.failures_since, s.max_runs, s.runs_made, s.next_run_at,
    now() AS now
