"""What is kept and for how long: the log's partitions, and the rows that go (docs/retention.md)."""
