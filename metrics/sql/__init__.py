"""The statements of this app, one a file, run as those of `jobs/sql` are."""

from pathlib import Path

from jobs.sql import Statements

_OWN = Statements(Path(__file__).parent)
rows, text = _OWN.rows, _OWN.text
