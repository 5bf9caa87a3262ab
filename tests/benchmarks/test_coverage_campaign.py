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


def test_every_error_is_on(coverage):
    """Each drawn error moves the samples of a scan without noise."""
    design = coverage.Design()
    full = coverage.draw_scan(design, 1, noise=False).samples
    for name in design.spread.__dataclass_fields__:
        if name != "noise":
            without = replace(design, spread=replace(design.spread, **{name: 0.0}))
            samples = coverage.draw_scan(without, 1, noise=False).samples
            assert np.abs(samples - full).max() > 1e-5 * np.abs(full).max(), name
