"""Name patterns of the v1 contract (section 0). All of them ignore case."""

import re

QUEUE = re.compile(r"[a-z0-9._:-]{1,80}", re.IGNORECASE)
JOB_TYPE = re.compile(r"[a-z0-9._-]{3,80}", re.IGNORECASE)
STREAM_JOB_ID = re.compile(r"[a-z0-9._:-]{1,120}", re.IGNORECASE)
MEMORY_SCOPE = re.compile(r"[a-z0-9._:-]{2,80}", re.IGNORECASE)
MEMORY_KEY = re.compile(r"[a-z0-9._:-]{2,120}", re.IGNORECASE)
SESSION_ID = re.compile(r"session\.[a-z0-9._-]+", re.IGNORECASE)
