"""`make bench`: RauskuClaw measured beside what a user would run instead, on the same servers and processes."""
