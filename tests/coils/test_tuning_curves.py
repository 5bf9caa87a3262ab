"""Facts about what is believed of a trimmer's scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from coils.tuning.curves import TERMS, TrimmerType, shapes
from hil_fixtures.physics.trimmers import MAXIMUM, Scale

SHEET = TrimmerType("tune", 12e-12, 20e-12, offset=0.025, span=0.03, bend=0.05, skew=0.02)
PLACES = np.linspace(-1.0, 1.0, 7)


def corrections(part: float, seed: int, *shape: int) -> np.ndarray:
    """Return corrections of ``part`` of a tolerance either way."""
    rng = np.random.default_rng(seed)
    return np.asarray(part * SHEET.widths() * rng.uniform(-1.0, 1.0, (*shape, TERMS)))


def test_without_corrections_it_is_the_straight_line_of_the_data_sheet() -> None:
    """12 to 20 pF over the travel."""
    found = SHEET.capacitance(PLACES, np.zeros((7, TERMS)))
    assert found == pytest.approx(np.linspace(12e-12, 20e-12, 7), rel=1e-13, abs=0.0)


def test_bend_and_skew_leave_the_ends_of_the_travel_alone() -> None:
    """So offset and span alone say what can be reached."""
    ends = np.array([-1.0, 1.0])
    assert shapes(ends)[:, 2:] == pytest.approx(np.zeros((2, 2)), abs=1e-15)
    found = SHEET.capacitance(ends, np.array([0.1, 0.2, 0.3, -0.4]))
    # 16 pF +- 4 pF, offset by 0.1 and spread by 0.2 of 4 pF
    assert found == pytest.approx(
        [16e-12 + 0.4e-12 - 4.8e-12, 16e-12 + 0.4e-12 + 4.8e-12], rel=1e-13, abs=0.0
    )


def test_corrections_add() -> None:
    """Twice the correction is twice the distance from the line."""
    one, other = corrections(1.0, 1, 7), corrections(1.0, 2, 7)
    line = SHEET.capacitance(PLACES, np.zeros((7, TERMS)))
    both = SHEET.capacitance(PLACES, one + 2.0 * other) - line
    apart = SHEET.capacitance(PLACES, one) - line + 2.0 * (SHEET.capacitance(PLACES, other) - line)
    assert both == pytest.approx(apart, rel=1e-9, abs=1e-24)


def test_the_slope_is_the_derivative() -> None:
    """Of a cubic the central difference is the slope and h² f'''/6, which is -h² times the skew's part."""
    terms = corrections(3.0, 3, 7)
    step = 1e-2
    above, below = (SHEET.capacitance(PLACES + sign * step, terms) for sign in (1.0, -1.0))
    expected = SHEET.slope(PLACES, terms) - step**2 * terms[:, 3] * SHEET.half_range
    assert (above - below) / (2.0 * step) == pytest.approx(expected, rel=1e-10, abs=0.0)


@given(some.integers(0, 10**6), some.floats(-1.0, 1.0))
def test_a_capacitance_leads_back_to_its_place(seed: int, place: float) -> None:
    """For every scale within three tolerances, whichever way it bends."""
    terms = corrections(3.0, seed)
    there = SHEET.capacitance(np.array(place), terms)
    # 1e-6 of the half travel is 0.002 of 4000 steps
    assert float(SHEET.place(there, terms)) == pytest.approx(place, abs=1e-6)


def test_beyond_the_ends_it_goes_on_with_the_slope_at_the_end() -> None:
    """Wanted capacitances outside of the travel get a finite, ordered place."""
    terms = corrections(2.0, 4, 2)
    ends = np.array([-1.0, 1.0])
    beyond = SHEET.capacitance(ends, terms) + np.array([-3e-12, 2e-12])
    expected = ends + np.array([-3e-12, 2e-12]) / SHEET.slope(ends, terms)
    assert SHEET.place(beyond, terms) == pytest.approx(expected, rel=1e-9)
    assert np.all(np.abs(expected) > 1.2)


def test_tolerances_are_those_of_the_data_sheet() -> None:
    """2.5 % of 16 pF are 0.1 of half the range; all others are parts of half the range already."""
    assert SHEET.widths() == pytest.approx([0.1, 0.03, 0.05, 0.02])
    moved = SHEET.capacitance(np.array(0.0), np.array([SHEET.widths()[0], 0.0, 0.0, 0.0]))
    assert float(moved) == pytest.approx(1.025 * 16e-12, rel=1e-12, abs=0.0)


def test_no_correction_makes_a_capacitance_negative() -> None:
    """A tenth of the lowest is the least that a guess may come to."""
    found = SHEET.capacitance(np.array(-1.0), np.array([-9.0, 0.0, 0.0, 0.0]))
    assert float(found) == pytest.approx(1.2e-12, rel=1e-12, abs=0.0)


def test_a_simulated_trimmers_bend_is_the_bend_and_its_wave_nearly_the_skew() -> None:
    """Scales written elsewhere: the bend is exact, a sine of the place is left over by a fifth of itself.

    The parts of sin(pi p) along the Legendre polynomials P1 and P3 are 3/pi and 7/pi - 105/pi³, so at the
    ends, where it is most, 105/pi³ - 10/pi = 0.203 remain of its amplitude.
    """
    middle, half = SHEET.middle, SHEET.half_range
    for bend, wave in ((0.044, 0.0), (-0.03, 0.016)):
        scale = Scale(middle - 1.02 * half, middle + 1.02 * half, bend, wave)
        places = np.linspace(-1.0, 1.0, 201)
        true = np.array([scale.capacitance(0.5 * (1.0 + place) * MAXIMUM) for place in places])
        found = np.linalg.lstsq(shapes(places), (true - middle) / half - places, rcond=None)[0]
        rest = (true - SHEET.capacitance(places, found)) / half
        assert found[2] == pytest.approx(1.02 * 2.0 * bend, rel=1e-9)
        assert np.max(np.abs(rest)) < (105.0 / np.pi**3 - 10.0 / np.pi) * 1.02 * 2.0 * wave + 1e-12


@pytest.mark.parametrize(
    ("values", "match"),
    [((0.0, 2e-12), "0 < lowest"), ((3e-12, 2e-12), "0 < lowest"), ((1e-12, 2e-12, 0.0), "tolerances")],
)
def test_a_data_sheet_that_says_nothing_is_refused(values: tuple[float, ...], match: str) -> None:
    """Ranges rise from above zero, tolerances are positive."""
    with pytest.raises(ValueError, match=match):
        TrimmerType("tune", *values)
