"""Sorting windows into spokes: nothing is moved, joined or invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.demodulate import design_filter
from acquisition.sort import LineFlag, LineSorter, find_readout
from coilbench.base.errors import DataLost
from drivers.protocols import ReceiveBlock, ReceivePlan, ReceiveSetting

CHANNELS, SAMPLES = 3, 7


def _block(first: int, count: int) -> ReceiveBlock:
    """Return windows whose samples all hold their own window number."""
    numbers = np.arange(first, first + count)
    data = np.broadcast_to(numbers[:, None, None] + 1j, (count, CHANNELS, SAMPLES)).astype(np.complex64)
    return ReceiveBlock(data, first, numbers.astype(np.int64) * SAMPLES)


@st.composite
def _arrivals(draw):
    """Draw a scan cut into runs, some lost, the rest in any order."""
    cuts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    starts = np.concatenate(([0], np.cumsum(cuts)))
    runs = [(int(start), count) for start, count in zip(starts[:-1], cuts, strict=True)]
    kept = [run for run in runs if draw(st.booleans())]
    order = draw(st.permutations(range(int(starts[-1]))))
    return int(starts[-1]), draw(st.permutations(kept)), np.array(order, dtype=np.int64)


@given(_arrivals())
def test_every_window_lands_on_its_spoke_or_is_missing(arrival):
    """Shuffled and lost runs: each arrived window is on the planned spoke, all others are reported."""
    total, runs, order = arrival
    sorter = LineSorter(order)
    seen: dict[int, int] = {}
    for first, count in runs:
        block = _block(first, count)
        for line in sorter.sort(block):
            assert block.data[line.row, 0, 0].real == line.repetition
            assert line.spoke == order[line.repetition]
            assert line.flags == 0
            seen[line.repetition] = line.spoke
    assert len(set(seen.values())) == len(seen)
    assert set(sorter.missing) == set(range(total)) - set(seen)


def test_a_run_is_placed_by_the_repetition_it_began_with():
    """After the receiver was configured anew its window 0 is the repetition that was played first."""
    sorter = LineSorter(np.arange(10, dtype=np.int64), flags=LineFlag.NOISE)
    lines = sorter.sort(_block(2, 3), 5)
    assert [line.repetition for line in lines] == [7, 8, 9]
    assert all(line.flags == LineFlag.NOISE for line in lines)


def test_miscounted_triggers_are_an_error():
    """One trigger too many, or the same repetition twice, is lost data and no line."""
    sorter = LineSorter(np.arange(4, dtype=np.int64))
    with pytest.raises(DataLost, match="plan has 4"):
        sorter.sort(_block(2, 3))
    sorter.sort(_block(0, 2))
    with pytest.raises(DataLost, match="repetition 1 was received twice"):
        sorter.sort(_block(1, 2))
    assert sorter.missing == (2, 3)


def test_damaged_windows_are_flagged_alone():
    """Clipping, a hole and an overlap mark the windows concerned and no others."""
    block = _block(0, 6)
    data, starts = block.data.copy(), block.first_sample.copy()
    data[1, 2, 3] = -40.0j
    data[3, 0, 0] = np.nan
    starts[5] -= 1
    lines = LineSorter(np.arange(6, dtype=np.int64), full_scale=40.0).sort(ReceiveBlock(data, 0, starts))
    assert [line.flags for line in lines] == [
        0,
        LineFlag.CLIPPED,
        0,
        LineFlag.GAP,
        LineFlag.GAP,
        LineFlag.GAP,
    ]


def test_order_must_be_a_permutation():
    """A spoke played twice or never is a programmer's mistake."""
    with pytest.raises(ValueError, match="exactly once"):
        LineSorter(np.array([0, 0, 2], dtype=np.int64))


def _setting(dwell: float, samples: int) -> ReceiveSetting:
    return ReceiveSetting(ReceivePlan(33.8e6, dwell, samples), -2 * dwell, 6, 6, round(dwell * 122.88e6))


@pytest.mark.parametrize("dwell", [10.0016e-6, 5.0e-6, 2.0e-6])
def test_readout_begins_at_the_last_clean_sample_at_the_centre(dwell):
    """The first sample is clean and at k = 0 (16 ns late at 10 us), the last not beyond the spoke."""
    setting = _setting(dwell, round(5.3e-3 / dwell))
    chain = design_filter(stages=6, decimation=setting.filter_decimation, interval=dwell)
    readout = find_readout(setting, chain, 100e-6, 5e-3)
    assert readout.flags == 0
    assert readout.times[0] <= 100e-6 + 20e-9
    assert readout.times[0] > 100e-6 - dwell
    assert 5.1e-3 - dwell < readout.times[-1] <= 5.1e-3 + 1e-9
    centre = chain.centres(setting.plan.samples, 6)[readout.first]
    # Output n of the CIC is centred (n + 1 - 3) intervals after the window's opening.
    assert readout.times[0] == pytest.approx((centre - 2) * dwell)
    assert centre - chain.half_width >= setting.settling_samples


def test_missed_centre_is_flagged():
    """At 20 us the filters settle 200 us after the trigger: the dead time of 100 us was too short."""
    setting = _setting(20e-6, 280)
    chain = design_filter(stages=6, decimation=setting.filter_decimation, interval=20e-6)
    assert find_readout(setting, chain, 100e-6, 5e-3).flags == LineFlag.DEADTIME


def test_short_window_is_refused():
    """A window that ends before the spoke is a planning mistake."""
    setting = _setting(10e-6, 400)
    chain = design_filter(stages=6, decimation=setting.filter_decimation, interval=10e-6)
    with pytest.raises(ValueError, match="spoke lasts"):
        find_readout(setting, chain, 100e-6, 5e-3)
