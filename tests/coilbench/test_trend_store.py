"""The index of runs: rows are added, never changed; folders are the truth; damage is repaired."""

from __future__ import annotations

import json
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.trend_store import STORE_NAME, Reset, TrendStore, reset_baseline

START = datetime(2026, 1, 5, 8, tzinfo=UTC)


def row(name, value, version="1", **more):
    return {
        "name": name,
        "value": value,
        "unit": "dB(V)",
        "uncertainty": 0.05,
        "algorithm": "noise",
        "version": version,
        **more,
    }


def add_run(runs, day, value, coil="NA-1"):
    folder = runs / f"run-{day:03d}-{coil}"
    folder.mkdir(parents=True)
    record = {
        "run": folder.name,
        "array": coil,
        "started_utc": (START + timedelta(days=day)).isoformat(),
        "quantities": [row("noise level", value, place="channel 1"), row("nothing", None)],
    }
    (folder / "record.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def runs(tmp_path):
    values = -120 + 0.1 * np.resize([0.5, -1.0, 1.2, -0.3, 0.1, -0.8, 0.9], 30)
    for day, value in enumerate(values):
        add_run(tmp_path, day, float(value))
    add_run(tmp_path, 3, -100.0, coil="NA-2")
    return tmp_path


def test_runs_are_charted_in_the_order_of_time(runs):
    with TrendStore(runs) as store:
        assert store.refresh() == 31
        assert store.refresh() == 0
        assert store.coils() == ("NA-1", "NA-2")
        assert store.quantities("NA-1") == (("noise level", "channel 1"),)
        trend = store.trend("NA-1", "noise level", "channel 1")
    assert trend.times == tuple(sorted(trend.times))
    assert len(trend.values) == 30
    assert not trend.chart.alarms
    assert trend.overdue_days(START + timedelta(days=31), 1) == pytest.approx(1)


def test_a_changed_channel_raises_an_alarm_and_a_signed_reset_ends_it(runs):
    for day in range(30, 36):
        add_run(runs, day, -118.0)
    with TrendStore(runs) as store:
        store.refresh()
        assert store.trend("NA-1", "noise level", "channel 1").chart.alarms[0] == 30
        reset_baseline(
            runs, Reset("NA-1", START + timedelta(days=29.5), "preamplifier 1 replaced", "M. Curie")
        )
        trend = store.trend("NA-1", "noise level", "channel 1")
    assert not trend.chart.alarms
    assert trend.chart.begins == 30
    assert trend.chart.is_provisional
    with pytest.raises(ValueError, match="signs"):
        Reset("NA-1", START, "because", " ")


def test_analysing_again_adds_rows_and_keeps_the_old_ones(runs):
    folder = runs / "run-000-NA-1"
    with TrendStore(runs) as store:
        before = store.refresh()
        again = {
            "quantities": [
                row("noise level", -50.0, "2", place="channel 1"),
                row("noise level", 7.0, place="channel 1"),
            ]
        }
        (folder / "qc-001.json").write_text(json.dumps(again))
        assert store.refresh() == 1
        rows = (
            sqlite3.connect(runs / STORE_NAME)
            .execute("SELECT value, version FROM measurement WHERE run = ? ORDER BY version", (folder.name,))
            .fetchall()
        )
        assert rows[1] == (-50.0, "2")
        assert rows[0][0] == pytest.approx(-120, abs=1)
        trend = store.trend("NA-1", "noise level", "channel 1")
        assert trend.version == "1"
    assert before == 31


def test_the_index_is_made_again_from_the_folders(runs):
    with TrendStore(runs) as store:
        store.refresh()
        expected = store.trend("NA-1", "noise level", "channel 1").values
    for damage in (b"not a database at all" * 100, None):
        for path in runs.glob(STORE_NAME + "*"):
            path.unlink()
        if damage is not None:
            (runs / STORE_NAME).write_bytes(damage)
        with TrendStore(runs) as store:
            store.refresh()
            np.testing.assert_array_equal(store.trend("NA-1", "noise level", "channel 1").values, expected)
            assert bool(store.remarks) == (damage is not None)


def test_many_may_refresh_at_once(runs):
    added, errors = [], []

    def refresh():
        try:
            with TrendStore(runs) as store:
                added.append(store.refresh())
        except Exception as error:  # noqa: BLE001 - a thread hands on what it met
            errors.append(error)

    threads = [threading.Thread(target=refresh) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sum(added) == 31
    with sqlite3.connect(runs / STORE_NAME) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_what_cannot_be_read_is_left_out_and_told(runs):
    (runs / "run-002-NA-1" / "record.json").write_text("{")
    with TrendStore(runs) as store:
        assert store.refresh() == 30
        assert "run-002-NA-1" in store.remarks[0]
        with pytest.raises(BenchFileError, match="NA-2"):
            store.trend("NA-7", "noise level", "channel 1")
        (runs / "baseline-resets").mkdir()
        (runs / "baseline-resets" / "x.json").write_text("{}")
        with pytest.raises(MeasurementError, match="reset cannot be read"):
            store.trend("NA-1", "noise level", "channel 1")
