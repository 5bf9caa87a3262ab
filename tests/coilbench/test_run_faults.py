"""An instrument that fails during a run: who and what in one message, exit code 3, outputs off, data kept."""

from __future__ import annotations

import json

import pytest

from acquisition.playback import StreamReader

#: Wall seconds after which a scanner that nobody reaches any more switches its RF off by itself, and margin.
RF_WATCHDOG = 4.0 + 2.0


@pytest.fixture
def readable(bench, read_whole):
    """Return what counts the whole acquisitions of a run that did not finish."""

    def count() -> int:
        number, finished = read_whole(bench.folder / "raw.mrd")
        assert not finished
        return number

    return count


@pytest.fixture
def failing(bench, run_here):
    """Return what runs the bench until it fails, and checks what holds after every failure."""

    def fail(when=None, then=None):
        failure = run_here("run", bench.path, "--runs", bench.runs, when=when, then=then)
        assert failure.code == 3, failure
        assert failure.out == ""
        assert len(set(failure.lines)) == len(failure.lines), failure.text
        assert not (bench.folder / "record.json").exists()
        (failed,) = bench.events("failed")
        assert failed["message"].split("; ", 1)[0] in failure.text
        return failure

    return fail


def test_a_sweep_that_never_ends_has_a_deadline(bench, failing) -> None:
    """Half as long again as the analyzer expects to sweep, and 5 s; the sweep is tried three times."""
    bench.lab.faults.analyzer.stop_mid_sweep = True
    failure = failing()
    assert failure.lines[0].startswith(
        f"analyzer ({bench.lab.addresses['analyzer_hislip']}) after 'INIT1:IMM"
    )
    assert "nothing had been acquired yet" in failure.lines[-1]
    assert failure.seconds < 40.0
    assert bench.is_safe


def test_an_overflowing_fifo_names_the_board_and_keeps_what_came_before(bench, failing, readable) -> None:
    """Played three times in vain; the board's own words are in the message."""
    board = bench.lab.faults.receivers[2]

    def overflow() -> None:
        board.fifo_depth = 100

    failure = failing(bench.is_scanning, overflow)
    assert "receiver board 3" in failure.lines[0]
    assert "lost 3 times" in failure.lines[0]
    first = bench.events("scan.repeated")[0]["data"]["first"]
    assert sum(event["data"]["first"] == first for event in bench.events("scan.repeated")) == 2
    assert bench.is_safe
    assert readable() > 64
    assert "coilbench recon" in failure.lines[1]


def test_a_passing_overflow_costs_nothing(bench, run_here) -> None:
    """Lost once, played again: all spokes are there."""
    board = bench.lab.faults.receivers[0]
    board.fifo_depth = 100

    def heal() -> None:
        board.fifo_depth = None

    done = run_here(
        "run",
        bench.path,
        "--runs",
        bench.runs,
        "--json",
        when=lambda: bench.events("scan.repeated"),
        then=heal,
    )
    assert done.code in (0, 1, 2)
    assert json.loads(done.out)["schema"] == 1
    with StreamReader(bench.folder / "raw.mrd") as reader:
        spokes = [line.idx.kspace_encode_step_1 for line in reader][64:]
    assert sorted(spokes) == list(range(800))


def test_a_missing_board_is_named_before_anything_moves(bench, run_here) -> None:
    address = bench.lab.addresses["receivers"][2]
    bench.lab.unplug("receiver3")
    failure = run_here("run", bench.path, "--runs", bench.runs)
    assert failure.code == 3
    assert "receiver" in failure.lines[0]
    assert "board 3" in failure.lines[0]
    assert address in failure.lines[0]
    assert "board 2" not in failure.text
    assert not bench.events("tune.started")
    assert bench.is_safe


def test_a_board_that_vanishes_is_named_and_the_scan_so_far_stays(bench, failing, readable) -> None:
    bench.change("spokes = 800", "spokes = 1600")
    failure = failing(bench.is_scanning, lambda: bench.lab.unplug("receiver2"))
    assert failure.lines[0].startswith("receiver board 2")
    assert bench.is_safe
    assert readable() > 64
    assert "coilbench recon" in failure.text


def test_a_scanner_that_vanishes_switches_its_rf_off_itself(bench, failing, wait_until, readable) -> None:
    bench.change("spokes = 800", "spokes = 1600")
    address = bench.lab.addresses["scanner"]
    failure = failing(bench.is_scanning, lambda: bench.lab.unplug("scanner"))
    assert any(
        line.startswith(f"remark: scanner ({address}): cannot be told to be safe") for line in failure.lines
    )
    assert failure.lines[0].startswith(f"scanner ({address})")
    assert "look at RF amplifier, analyzer and bias yourself" in failure.text
    wait_until(lambda: bench.is_safe, "the scanner's watchdog", within=RF_WATCHDOG)
    assert readable() > 64


def test_a_tuner_that_vanishes_while_tuning_is_named(bench, failing) -> None:
    bench.change(
        f'address = "{bench.lab.addresses["tuner"]}"', f'address = "{bench.lab.addresses["tuner_tcp"]}"'
    )
    failure = failing(lambda: bench.events("tune.started"), lambda: bench.lab.unplug("tuner"))
    assert any(line.startswith("tuner") for line in failure.lines)
    assert bench.is_safe


@pytest.mark.parametrize(
    ("table", "driver", "other"),
    [("analyzer", "rs-znb", "coilbench-scanner"), ("tuner", "coilbench-tuner", "coilbench-scanner")],
)
def test_a_driver_that_does_not_fit_is_one_sentence(bench, run_here, table, driver, other) -> None:
    bench.change(f'driver = "{driver}"', f'driver = "{other}"')
    failure = run_here("run", bench.path, "--runs", bench.runs)
    assert failure.code == 3
    assert f"instruments.{table}: driver '{other}' is not one for the {table}" in failure.lines[0]
    assert not bench.lab.state["rf"]["scanner"]
    assert not any(bench.lab.state["bias"])
