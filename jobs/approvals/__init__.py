"""Jobs that a person must approve before they begin: asking, deciding, and what becomes of what nobody decides."""
