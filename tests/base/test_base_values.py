"""Nuclei, units, errors and clocks."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coilbench.base import errors
from coilbench.base.clock import VirtualClock
from coilbench.base.nuclei import NUCLEI, nucleus
from coilbench.base.units import engineering, parse_quantity


def test_sodium_gamma_follows_the_iupac_ratio() -> None:
    """Harris 2001: Ξ(23Na) = 26.451900 %; 600 ppm below the moment-derived 11.2695 MHz/T."""
    assert nucleus("23Na").gamma_bar == pytest.approx(11.262552e6, rel=1e-6)
    # A 123.25 MHz magnet holds sodium at 32.6020 MHz.
    b0 = 123.25e6 / NUCLEI["1H"].gamma_bar
    assert NUCLEI["23Na"].larmor_frequency(b0) == pytest.approx(32.6020e6, abs=50.0)


def test_unknown_nucleus_lists_the_known() -> None:
    with pytest.raises(ValueError, match="129Xe"):
        nucleus("23na")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("78.9M", "Hz", 78.9e6),
        ("1.001 MHz", "Hz", 1001000.0),
        ("-15 dBm", "dBm", -15.0),
        ("-20", "dB", -20.0),
        ("80 mm", "m", 0.08),
        ("0.08 m", "m", 0.08),
        ("10 us", "s", 1e-5),
        ("10 µs", "s", 1e-5),
        ("12 mT/m", "T/m", 12e-3),
        (3, "T", 3.0),
        ("293.15 K", "K", 293.15),
        ("4 mK", "K", 4e-3),
        ("5 m", "m", 5.0),
    ],
)
def test_engineering_text_is_exact(text: str | float, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit"), [("3 T", "Hz"), ("", "Hz"), ("1,5 MHz", "Hz"), ("10 V", "dBm"), ("x", "m")]
)
def test_wrong_unit_or_number_says_what_was_expected(text: str, unit: str) -> None:
    with pytest.raises(ValueError, match="expected a number in"):
        parse_quantity(text, unit)


@given(st.integers(min_value=-(10**6), max_value=10**6), st.sampled_from(["", "k", "M", "m", "u", "n"]))
def test_prefixes_scale_by_powers_of_ten(number: int, prefix: str) -> None:
    scale = {"": 0, "k": 3, "M": 6, "m": -3, "u": -6, "n": -9}[prefix]
    assert parse_quantity(f"{number} {prefix}Hz", "Hz") == float(f"{number}e{scale}")


def test_values_are_shown_with_a_prefix() -> None:
    assert engineering(33.78766e6, "Hz") == "33.79 MHz"
    assert engineering(-2e-5, "s") == "-20 µs"
    assert engineering(0.0, "V") == "0 V"


def test_instrument_errors_name_instrument_and_command_and_survive_pickling() -> None:
    error = errors.ReplyTimeout("analyzer", "no answer in 2 s", command="*OPC?")
    error.add_note("while tuning channel 3")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is errors.ReplyTimeout
    assert str(copy) == "analyzer after '*OPC?': no answer in 2 s"
    assert copy.instrument == "analyzer"


def test_virtual_time_passes_only_by_sleeping() -> None:
    clock = VirtualClock()
    clock.sleep(1200.0)
    assert clock.now() == 1200.0
