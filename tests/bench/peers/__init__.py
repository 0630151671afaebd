"""One file a contender: its application, its no-op and its submitter. Other projects' import nothing of ours."""
