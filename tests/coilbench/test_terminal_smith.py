"""Facts about Smith charts drawn as text: where the dots are, read back from the Braille cells."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coilbench.terminal_smith import Trace, beside, describe_reflection, draw_smith, shows_braille

#: Dot bits by row and column, read off the Unicode chart U+2800: dots 1-3 and 7 are left, 4-6 and 8 right.
BITS = {(0, 0): 1, (1, 0): 2, (2, 0): 4, (3, 0): 64, (0, 1): 8, (1, 1): 16, (2, 1): 32, (3, 1): 128}


def dots(text: str, columns: int) -> np.ndarray:
    """Return the reflections at which dots are set."""
    lines = text.split("\n")
    assert {len(line) for line in lines} == {columns}
    width, height = 2 * columns - 1, 4 * len(lines) - 1
    found = []
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            code = ord(letter) - 0x2800
            found += [
                complex(2 * (2 * column + x) / width - 1, 1 - 2 * (4 * row + y) / height)
                for (y, x), bit in BITS.items()
                if 0 <= code < 256 and code & bit
            ]
    return np.array(found)


@pytest.mark.parametrize("columns", [11, 45, 61])
def test_an_empty_chart_is_the_unit_circle_axis_and_three_circles(columns: int) -> None:
    """Every dot is within half a dot's diagonal of one of them, and each of them is there all along."""
    chart = draw_smith([], columns=columns).plain
    found = dots(chart, columns)
    reach = 1.02 * math.hypot(1 / (2 * columns - 1), 1 / (4 * len(chart.split("\n")) - 1))
    curves = (
        np.abs(np.abs(found) - 1.0),
        np.abs(found.imag),
        np.abs(np.abs(found - 0.5) - 0.5),
        np.abs(np.abs(found - (1 + 1j)) - 1.0),
        np.abs(np.abs(found - (1 - 1j)) - 1.0),
    )
    assert np.all(np.min(curves, axis=0) < reach)
    circle = np.exp(2j * np.pi * np.arange(100) / 100)
    for wanted in (circle, 0.5 + 0.5 * circle, np.linspace(-1, 1, 50)):
        nearest = np.min(np.abs(wanted[:, None] - found[None, :]), axis=1)
        assert nearest.max() < reach


def test_a_trace_is_a_closed_line_of_dots_where_the_reflections_are() -> None:
    """A Q-circle of diameter 0.8 from the short circuit, sampled coarsely: no gap, no stray dot."""
    detuning = np.tan(np.linspace(-1.5, 1.5, 31))
    trace = -1.0 + 0.8 / (1.0 + 1j * detuning)
    empty = set(dots(draw_smith([]).plain, 45))
    found = set(dots(draw_smith([Trace("1", list(trace), None)]).plain, 45))
    added = np.array(sorted(found - empty, key=abs))
    dot = 2 / 89
    assert np.abs(np.abs(added + 0.6) - 0.4).max() < 1.5 * dot  # chords of 31 points sag by less than a dot
    angles = np.sort(np.angle(added + 0.6))
    gaps = np.diff(angles)
    assert np.sort(gaps)[-3] * 0.4 < 3 * dot  # a gap only where grid lines had set the dots already


@given(st.complex_numbers(max_magnitude=3.0), st.sampled_from([11, 45, 61]), st.booleans())
def test_the_marker_is_in_the_cell_of_its_reflection(gamma: complex, columns: int, braille: bool) -> None:
    """Up is inductive, right is open; more than total reflection stays on the rim."""
    lines = draw_smith([Trace("7", [], gamma)], columns=columns, braille=braille).plain.split("\n")
    ((row, column),) = [(r, line.index("7")) for r, line in enumerate(lines) if "7" in line]
    shown = gamma / max(1.0, abs(gamma))
    for cell, cells, each, value in (
        (column, columns, 2 if braille else 1, shown.real),
        (row, len(lines), 4 if braille else 1, -shown.imag),
    ):
        dot = 0.5 * (value + 1.0) * (cells * each - 1)
        assert each * cell - 0.5 - 1e-9 <= dot <= each * (cell + 1) - 0.5 + 1e-9


def test_conjugate_reflections_give_the_chart_upside_down() -> None:
    trace = list(0.3 * np.exp(1j * np.linspace(0.2, 2.0, 40)) + 0.1)
    above = dots(draw_smith([Trace("1", trace, None)]).plain, 45)
    below = dots(draw_smith([Trace("1", list(np.conj(trace)), None)]).plain, 45)
    distance = np.abs(np.conj(above)[:, None] - below[None, :])
    assert distance.min(axis=1).max() <= 2 / 89 * 1.5  # rounding of half dots goes one way


def test_what_is_not_finite_is_left_out() -> None:
    broken = [0.5, complex(math.nan, 0.0), complex(math.inf, 0.0), -0.5]
    chart = draw_smith([Trace("1", broken, complex(math.nan, 0.0))]).plain
    assert "1" not in chart
    found, empty = set(dots(chart, 45)), set(dots(draw_smith([]).plain, 45))
    assert len(found - empty) <= 2


def test_a_terminal_without_braille_gets_ascii() -> None:
    chart = draw_smith([Trace("1", [0.5j, -0.5j], 0.5j)], columns=41, braille=False)
    assert set(chart.plain) <= set(" .*1\n")
    chart.plain.encode("ascii")
    assert shows_braille("utf-8")
    assert not shows_braille("cp1252")
    assert not shows_braille("no such encoding")


def test_later_traces_and_markers_are_on_top_and_coloured() -> None:
    traces = [Trace("a", [0.5], 0.0), Trace("b", [0.5], 0.0)]
    chart = draw_smith(traces)
    assert "a" not in chart.plain
    assert "b" in chart.plain
    assert "bold reverse bright_yellow" in {str(span.style) for span in chart.spans}


def test_words_beside_the_chart_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(beside(draw_smith([], columns=11), ["[red]turn[/red] trimmer ch3.h.tune"]))
    assert "[red]turn[/red] trimmer" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("gamma", "words"),
    [
        (0.0, "Z = 50.0 + j0.0 Ω, return loss ∞ dB, VSWR 1.00"),
        (1.0, "Z = open, return loss 0.0 dB, VSWR ∞"),
        (-1 / 3, "Z = 25.0 + j0.0 Ω, return loss 9.5 dB, VSWR 2.00"),
        ((30j - 20) / (30j + 80), "Z = 30.0 + j30.0 Ω"),
    ],
)
def test_a_reflection_in_words_is_the_bilinear_map(gamma: complex, words: str) -> None:
    assert describe_reflection(gamma).startswith(words)


def test_even_or_tiny_charts_and_long_letters_are_refused() -> None:
    for columns in (9, 44):
        with pytest.raises(ValueError, match=str(columns)):
            draw_smith([], columns=columns)
    with pytest.raises(ValueError, match="one printable"):
        Trace("ch1", [], None)
