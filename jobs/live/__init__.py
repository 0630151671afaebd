"""Events out: what happens to jobs, to whoever watches, at once, in order and exactly once.

Rows are the truth, a hint is only a doorbell. Whoever commits a change of a job calls `announce`, which publishes the
job's id on one Redis channel. Each web process has a `Hub` (`jobs.live.hub`) that hears the hints and reads, in one
statement for all jobs that rang, what is newer than what each follower has seen.

Why each log line arrives exactly once and in order: every writer of log lines holds the job's row lock until it has
committed, so within a job ids grow in commit order, and "everything after the last id I was given" can neither miss
nor repeat a line. That position is all there is to resume from, on any web process. A lost hint costs time (a slow
poll finds the rows), never a line; a slow follower just asks less often, and slows nobody.
"""

from jobs.live.hints import MAX_TEXT_BYTES, announce, announce_delta

__all__ = ["MAX_TEXT_BYTES", "announce", "announce_delta"]
