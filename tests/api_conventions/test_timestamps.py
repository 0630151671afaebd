"""Timestamps are read as Django reads them, by a quicker loader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, connection, connections
from psycopg.pq import Format

from jobs.sql import tuples_of
from rauskuclaw.timestamps import UtcLoader

pytestmark = pytest.mark.django_db

TIMESTAMPTZ_OID = 1184
MOMENTS = [
    datetime(2026, 11, 21, 22, 19, 39, 226008, UTC), datetime(2026, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 100000, UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
]  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_every_cursor_reads_them_as_utc(moment: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz, NULL::timestamptz", [moment.isoformat()])
        read = cursor.fetchone()

    assert [read] == tuples_of("SELECT %(it)s::timestamptz, NULL::timestamptz", {"it": moment.isoformat()})
    assert read == (moment, None)
    assert read[0].tzinfo is UTC


def test_both_kinds_of_cursor_use_the_quick_loader() -> None:
    connection.ensure_connection()
    with connection.cursor() as cursor:
        adapters = (connection.connection.adapters, cursor.cursor.adapters)

    assert [it.get_loader(TIMESTAMPTZ_OID, Format.TEXT) for it in adapters] == [UtcLoader] * 2


def test_a_connection_of_another_time_zone_is_read_as_its_own() -> None:
    other = connections.create_connection("default")
    other.settings_dict = {**connection.settings_dict, "TIME_ZONE": "Europe/Helsinki"}
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT '2026-07-01 12:00:00+00'::timestamptz")
            (read,) = cursor.fetchone()
    finally:
        other.close()

    assert (read, read.utcoffset()) == (datetime(2026, 7, 1, 12, tzinfo=UTC), timedelta(hours=3))


@pytest.mark.parametrize("text", ["infinity", "-infinity", "10000-01-01", "0044-03-15 BC"])
def test_what_no_datetime_can_be_is_an_error_of_the_data(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT '{text}'::timestamptz")
        with pytest.raises(DataError, match=r"after year 10K|before year 1"):
            cursor.fetchone()
