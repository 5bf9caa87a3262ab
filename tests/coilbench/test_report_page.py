"""The report page: self-contained, escaped, complete."""

from __future__ import annotations

import re

import numpy as np
import skrf

from coilbench.base.verdict import Verdict, judge
from coilbench.report import figures, scan_figures
from coilbench.report.page import Page, Rows, Section, render


def sweep(seed: int) -> skrf.Network:
    rng = np.random.default_rng(seed)
    frequency = np.r_[np.linspace(30e6, 37e6, 31), np.linspace(120e6, 135e6, 31)]
    s = 0.2 * (rng.standard_normal((62, 4, 4)) + 1j * rng.standard_normal((62, 4, 4)))
    return skrf.Network(f=frequency, f_unit="Hz", s=s, z0=50)


def page(text: str) -> str:
    first, second = sweep(1), sweep(2)
    rho = np.corrcoef(np.random.default_rng(3).standard_normal((4, 50))).astype(complex)
    drawings = (
        figures.reflection_figure(first, second, (0, 3), 33.8e6, -20.0),
        figures.smith_figure(first, second, (0, 3), 33.8e6),
        figures.scattering_figure(np.full((4, 4), -30.0), (9, 10, 11, 12), "S"),
        scan_figures.correlation_figure(rho, rho),
        scan_figures.slices_figure(np.random.default_rng(4).random((40, 36, 38)), 5e-3, 0.08, "SNR", "", 1.0),
        scan_figures.regression_figure(
            np.array([20.0, 60.0, 45.0]),
            np.array([0.7, 2.0, 1.5]),
            np.full(3, 0.02),
            np.array([True, True, False]),
            (0.0, 1 / 30),
            ("A", "B", "C"),
        ),
    )
    section = Section(
        text, text, tuple((text, drawing) for drawing in drawings), (Rows((text,), ((text,),)),)
    )
    judged = (judge(text, -26.0, "dB", uncertainty=0.5, at_most=-20.0),)
    return render(Page(text, (("operator", text),), Verdict.PASS, judged, (text,), (section,)))


def test_a_hostile_text_stays_text_everywhere() -> None:
    html = page('<script>alert(1)</script>"&')
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8


def test_nothing_is_loaded_from_anywhere() -> None:
    html = page("bench")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", html)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\((?!#|\"#|data:)", html)
    assert "default-src 'none'" in html


def test_every_drawing_and_row_is_there() -> None:
    html = page("bench")
    assert html.count("<svg") == 6
    assert ">PASS<" not in html
    assert "✓ PASS" in html
    assert "≤ -20 dB" in html


def test_a_matrix_of_ports_shows_every_level_once_and_its_title_as_text() -> None:
    """16 cells for four ports, values rounded to whole dB; below -20 dB the ink is white."""
    levels = -np.arange(16.0).reshape(4, 4) * 3
    drawing = figures.scattering_figure(levels, (9, 10, 11, 12), "<b>1H</b>")
    assert "<b>" not in drawing
    cells = re.findall(r'fill="(#fff|#000)">(-?\d+)</text>', drawing)
    assert [int(level) for _, level in cells] == [-3 * number for number in range(16)]
    assert {ink for ink, level in cells if int(level) < -20} == {"#fff"}
    assert {ink for ink, level in cells if int(level) >= -20} == {"#000"}
    for port in (9, 10, 11, 12):
        assert drawing.count(f">{port}</text>") == 2


def test_a_smith_chart_marks_the_reflection_at_the_larmor_frequency() -> None:
    """A port of constant reflection 0.3 - 0.4j: its dot lies there, within the rounding of what is drawn."""
    still = skrf.Network(f=np.linspace(30e6, 37e6, 21), f_unit="Hz", s=np.full((21, 1, 1), 0.3 - 0.4j), z0=50)
    drawing = figures.smith_figure(still, still, (0,), 33.8e6)
    dots = re.findall(r'<circle cx="(-?[0-9.]+)" cy="(-?[0-9.]+)" r="[0-9.]+" fill="#', drawing)
    assert [(float(x), float(y)) for x, y in dots] == [(0.3, -0.4), (0.3, -0.4)]


def test_the_lines_of_a_smith_chart_are_those_of_the_impedance() -> None:
    """R = Z0 passes through the middle and 1; X = Z0 leaves the rim at j: (j - 1) / (j + 1)."""
    still = skrf.Network(f=np.linspace(30e6, 37e6, 5), f_unit="Hz", s=np.zeros((5, 1, 1)), z0=50)
    drawing = figures.smith_figure(still, still, (0,), 33.8e6)
    assert '<circle cx="0.5000" cy="0" r="0.5000"/>' in drawing
    assert '<path d="M0.0000 1.0000A1.0000 1.0000 0 0 1 1 0"/>' in drawing
