"""Forty drawn scans of the coverage campaign: intervals hold the truth, estimates are not biased.

The whole campaign (1000 scans) is ``python benchmarks/coverage/coverage_campaign.py --seeds 1000``.
"""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, chi2

from coilbench.base.errors import MeasurementError

COVERAGE = Path(__file__).parents[2] / "benchmarks" / "coverage"

pytestmark = pytest.mark.skipif(
    not COVERAGE.is_dir(), reason="benchmarks are not part of an installed package"
)

SCANS = 40
#: Two-sided chance of a false alarm of each test below.
CHANCE = 1e-3


@pytest.fixture(scope="module")
def coverage():
    sys.path.insert(0, str(COVERAGE))
    try:
        yield importlib.import_module("coverage_campaign")
    finally:
        sys.path.remove(str(COVERAGE))


@pytest.fixture(scope="module")
def rows(coverage):
    # numpy and finufft let go of the interpreter: two scans at a time.
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda seed: coverage.trial(coverage.Design(), seed), range(5000, 5000 + SCANS))
        )
    return [row for one in found for row in one if not row["rejected"]]


def test_intervals_hold_the_truth_at_their_rate(rows):
    """Three unknown vials a scan share references: as if 2/3 of the intervals were independent."""
    inside = np.array([row["low"] <= row["truth"] <= row["high"] for row in rows])
    independent = round(2 / 3 * inside.size)
    assert inside.mean() * independent >= binom.ppf(CHANCE, independent, 0.95)


def test_uncertainties_are_not_padded(rows):
    """Error over uncertainty has unit mean square, with 2/3 of the degrees of freedom."""
    pull = np.array([(row["estimate"] - row["truth"]) / row["uncertainty"] for row in rows])
    freedom = 2 / 3 * pull.size
    low, high = chi2.ppf((CHANCE / 2, 1 - CHANCE / 2), freedom) / freedom
    assert low < np.mean(pull**2) < high


@pytest.mark.parametrize(("vial", "limit"), [("saline A", 0.01), ("agar B", 0.02), ("agar C", 0.02)])
def test_bias_is_small(rows, vial, limit):
    """1 % where the wall hardly reaches the core, 2 % where partial volume is large; 3 sigma on top."""
    error = np.array([row["estimate"] / row["truth"] - 1 for row in rows if row["vial"] == vial])
    assert abs(error.mean()) < limit + 3 * error.std(ddof=1) / np.sqrt(error.size)


def test_partial_volume_is_corrected_and_not_small(coverage):
    """What each core reads of its own ball: the saline vial nearly all, the gel ones clearly not."""
    reads = coverage.own_recovery(coverage.Design())
    assert abs(reads["saline A"] - 1) < 0.04
    assert abs(reads["agar B"] - 1) > 0.08
    assert abs(reads["agar C"] - 1) > 0.08


def test_large_vials_have_cores_free_of_partial_volume(coverage):
    """1.5 widths of the true point spread from the wall: 99 % and more of what is read is the vial's own.

    Small vials have no such core and are refused. Without noise and errors the uncorrected values differ from
    the truth by what walls leave (1 % in gel) and the sensitivities' own 1 %.
    """
    small = coverage.Design()
    with pytest.raises(MeasurementError, match=r"no core of .* mm that keeps .* mm from its wall"):
        coverage.trial(small, 1, ways=("avoided",))
    design = coverage.Design.large()
    design = replace(design, spread=design.spread.only())
    for row in coverage.trial(design, 1, noise=False, ways=("avoided",)):
        assert row["estimate"] == pytest.approx(row["truth"], rel=0.02), row["vial"]
        assert 0 < row["parts"]["partial volume"] < 0.012 * row["truth"]


def test_a_delay_moves_readings_as_budgeted(coverage):
    """The same samples taken for 1 us later ones: each reading moves by the budget's first-order effect.

    To a quarter of the largest: the curvature of k(t), and bright walls that the grid holds only in part.
    """
    design = coverage.Design()
    design = replace(design, spread=replace(design.spread.only(), delay=1e-6))
    phantom, readout, protocol, angles = coverage._shared(design)
    protocol = replace(protocol, frequency_uncertainty=0.0, frequency_spread=0.0)
    scan = coverage.draw_scan(replace(design, spread=design.spread.only()), 3, noise=False)
    results = []
    for late in (0.0, 1e-6):
        radii = design.radius(design.times + late)
        dataset = coverage.Dataset(
            "late",
            scan.samples,
            (design.directions[:, None, :] * radii[None, :, None]).astype(np.float32),
            coverage.Grid.cube(design.matrix, design.fov),
            design.dwell_time,
            noise=scan.noise,
            noise_dwell_time=design.dwell_time,
        )
        images = coverage.reconstruct(dataset, angles=angles, passband=1.0)
        results.append(coverage.quantify(images, phantom, readout, protocol, draws=100))
    moved = [
        b.concentration - a.concentration for a, b in zip(results[0].vials, results[1].vials, strict=True)
    ]
    stated = [dict(vial.contributions)["gradient delay"] for vial in results[0].vials]
    np.testing.assert_allclose(np.abs(moved), stated, atol=0.25 * max(stated))


def test_every_error_is_on(coverage):
    """Each drawn error moves the samples of a scan without noise."""
    design = coverage.Design()
    full = coverage.draw_scan(design, 1, noise=False).samples
    for name in design.spread.__dataclass_fields__:
        if name != "noise":
            without = replace(design, spread=replace(design.spread, **{name: 0.0}))
            samples = coverage.draw_scan(without, 1, noise=False).samples
            assert np.abs(samples - full).max() > 1e-5 * np.abs(full).max(), name
