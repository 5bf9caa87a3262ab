"""Concentrations of a phantom whose k-space is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from coilbench.base.errors import MeasurementError
from coilbench.procedures.quantify import average_scans
from recon.blur import spill_matrix
from recon.dataset import Dataset
from recon.functionals import ImageNoise
from recon.live import ChannelImages, reconstruct
from recon.noise import noise_model
from recon.nufft import NonUniformTransform
from recon.regions import background_mask, core_weights
from recon.tsc import Protocol, quantify
from recon.tsc.calibration import _parabola
from recon.tsc.reading import combine_fitted, core_functionals

TRUTH = np.array([20.0, 145.0, 100.0, 60.0, 80.0, 40.0, 120.0])
REFERENCES, UNKNOWN = [1, 2, 4], [0, 3, 5, 6]
GELS = [4, 5, 6]
CHANNELS = 8
PROTOCOL = Protocol(0.1, np.pi / 2, 0.03)


def white_noise(shape, sigma, seed):
    generator = np.random.default_rng(seed)
    parts = generator.standard_normal((2, *shape), dtype=np.float32)
    return (sigma * (parts[0] + 1j * parts[1])).astype(np.complex64)


@pytest.fixture(scope="module")
def unit_noise():
    return noise_model(white_noise((8, 64, 256), 1.0, 99), 50e-6, passband=1.0)


@pytest.fixture(scope="module")
def image_of(simulation, grid, unit_noise):
    """Return the reconstruction of k-space with noise of a given deviation."""

    def image(signal, sigma=0.0, seed=0) -> ChannelImages:
        scale = sigma or 1e-9
        samples = signal / np.float32(scale)
        if sigma:
            samples = samples + white_noise(signal.shape, 1.0, seed)
        dataset = Dataset("simulated", samples, simulation.trajectory, grid, 50e-6)
        return reconstruct(dataset, noise=unit_noise)

    return image


@pytest.fixture(scope="module")
def clean(simulation, image_of, phantom, readout):
    return quantify(image_of(simulation.signal()), phantom, readout, PROTOCOL)


def test_saline_is_recovered_within_one_and_gel_within_two_percent(clean):
    """Without noise what is left is the method's own error: undersampling, ringing, blur."""
    measured = np.array([vial.concentration for vial in clean.vials])
    bias = np.abs(measured / TRUTH - 1)
    saline = [index for index in UNKNOWN if index not in GELS]
    gels = [index for index in UNKNOWN if index in GELS]
    assert np.all(bias[saline] < 0.01), bias
    assert np.all(bias[gels] < 0.02), bias


def test_the_mean_of_two_scans_is_read_like_one(simulation, image_of, phantom, readout, clean):
    """What directions left out do to it is the same; its weights only count more samples."""
    scan = image_of(simulation.signal())
    both = quantify(average_scans((scan, scan)), phantom, readout, PROTOCOL)
    for one, mean in zip(clean.vials, both.vials, strict=True):
        assert mean.concentration == pytest.approx(one.concentration, rel=1e-5)
        parts, means = dict(one.contributions), dict(mean.contributions)
        assert means["undersampling"] == pytest.approx(parts["undersampling"], rel=1e-3)


def test_the_bath_needs_no_stated_concentration(clean):
    """It comes out of the regression: 50 mmol/L went in."""
    assert clean.background == pytest.approx(50.0, rel=0.01)


def test_the_map_reads_the_vials_in_their_centre(clean, grid):
    """Where partial volume is small, i.e. the saline vials' innermost voxel, within 5 %."""
    for index in (1, 2, 3):
        centre = np.unravel_index(np.argmin(grid.distances(clean_centre(index))), grid.shape)
        assert clean.concentration[centre] == pytest.approx(TRUTH[index], rel=0.05)


def clean_centre(index):
    angle = (index - 1) * np.pi / 3
    return (0.047 * np.cos(angle), 0.047 * np.sin(angle), 0.0)


def test_a_wrong_t1_shows_as_the_ratio_of_steady_states(simulation, image_of, phantom, readout):
    """Gel analysed with saline's T1, against saline references, reads too much by (1 - E1 gel) / (1 - E1).

    At 90 degrees: (1 - exp(-100/40)) / (1 - exp(-100/55)) = 1.095.
    """
    saline = phantom.background
    wrong = {
        vial.material.name: replace(
            vial.material, relaxation=replace(vial.material.relaxation, t1=saline.relaxation.t1)
        )
        for vial in phantom.vials
    }
    vials = tuple(
        replace(
            vial,
            material=wrong[vial.material.name],
            concentration=None if index in GELS else vial.concentration,
        )
        for index, vial in enumerate(phantom.vials)
    )
    result = quantify(image_of(simulation.signal()), replace(phantom, vials=vials), readout, PROTOCOL)
    ratio = np.array([result.vials[index].concentration for index in GELS]) / TRUTH[GELS]
    expected = (1 - np.exp(-100 / 40)) / (1 - np.exp(-100 / 55))
    np.testing.assert_allclose(ratio, expected, rtol=0.015)


def test_noise_of_functionals_is_the_norm_of_their_k_space_weights(grid):
    """The Toeplitz covariance equals the inner product of forward transforms, computed by direct sums."""
    generator = np.random.default_rng(3)
    small = type(grid)((6, 8, 10), (0.06, 0.08, 0.10))
    positions = generator.uniform(-45, 45, (300, 3))
    weights = generator.uniform(0.5, 2.0, 300).astype(np.float32)
    images = ChannelImages(
        np.zeros((2, *small.shape), np.complex64), small, 1.0, 1, positions.astype(np.float32), weights, None
    )
    support = np.zeros(small.shape, np.bool_)
    support[1:5, 2:7, 3:9] = True
    noise = ImageNoise(images, support)
    functionals = white_noise((3, 2, 4, 5, 6), 1.0, 4)
    transform = NonUniformTransform(small, positions, backend="direct")
    rows = []
    for functional in functionals:
        whole = np.zeros((2, *small.shape), np.complex64)
        whole[:, *noise.box] = functional
        rows.append((np.conj(transform.forward(whole.conj())) / small.voxel_volume * weights).ravel())
    rows = np.array(rows)
    exact = (rows @ rows.conj().T).real
    # Elements off the diagonal nearly cancel: the transform's 1e-4 is relative to the diagonal.
    np.testing.assert_allclose(noise.covariance(functionals), exact, atol=1e-4 * np.diag(exact).max())


def test_the_noise_functional_predicts_each_change_of_the_readings(simulation, image_of, phantom, grid):
    """Fit, combine and average again after a small change of the images: the functional told the change.

    Smooth random changes 1e-3 of the signal; what is of second order stays below 2 % of the change.
    """
    clean = image_of(simulation.signal())
    cores = np.stack([core_weights(grid, vial) for vial in phantom.vials])
    mask, ones = background_mask(grid, phantom), np.ones(grid.shape)

    def reading_of(images):
        reading = combine_fitted(images, phantom, mask, ones)
        return reading, np.einsum("izyx,zyx->i", cores, reading.combined)

    reading, before = reading_of(clean)
    phases = np.exp(20j * grid.positions() @ np.random.default_rng(6).standard_normal((3, CHANNELS)))
    change = 1e-3 * np.abs(clean.images).max() * np.moveaxis(phases, -1, 0)
    _, after = reading_of(replace(clean, images=(clean.images + change).astype(np.complex64)))
    whole = (slice(None),) * 3
    functionals = core_functionals(clean, reading, cores, whole).astype(np.complex128)
    predicted = np.einsum("iczyx,czyx->i", functionals, change)
    # The readings are real without noise: what turns their phase is of no interest.
    assert np.linalg.norm((after - before - predicted).real) < 0.02 * np.linalg.norm((after - before).real)


@pytest.fixture(scope="module")
def repeated(simulation, image_of, phantom, readout, scaled):
    """One true phantom scanned 24 times; each time all that is stated about it is wrong within tolerance."""
    generator = np.random.default_rng(11)
    signal = simulation.signal()
    # At 5e-3 noise is 24 % of one vial's uncertainty: it would hardly be under test.
    sigma = 6e-3 * float(np.abs(signal).max())
    results = []
    for seed in range(24):
        materials = {
            material.name: replace(
                material,
                relaxation=scaled(
                    material.relaxation,
                    1 + 0.03 * generator.standard_normal(),
                    1 + 0.05 * generator.standard_normal(),
                ),
            )
            for material in phantom.materials
        }
        vials = tuple(
            replace(
                vial,
                material=materials[vial.material.name],
                concentration=None
                if vial.concentration is None
                else vial.concentration * (1 + 0.01 * generator.standard_normal()),
            )
            for vial in phantom.vials
        )
        stated = replace(phantom, background=materials[phantom.background.name], vials=vials)
        protocol = replace(PROTOCOL, flip_angle=np.pi / 2 * (1 + 0.03 * generator.standard_normal()))
        images = image_of(signal, sigma, seed)
        results.append(quantify(images, stated, readout, protocol, draws=1000, seed=seed))
    return results


def test_stated_noise_is_the_scatter_of_repeated_scans(repeated):
    """The readings scatter as the exact functional says, the noise of the sensitivity fit included.

    24 scans: a chi-squared with 23 degrees of freedom; limits at 0.05 % per side for each of 7 vials.
    """
    readings = np.array([[vial.reading for vial in result.vials] for result in repeated])
    predicted = np.mean([np.diag(result.core_noise) for result in repeated], axis=0)
    low, high = scipy.stats.chi2.ppf([5e-4, 1 - 5e-4], 23) / 23
    ratio = readings.var(axis=0, ddof=1) / predicted
    assert np.all((ratio > low) & (ratio < high)), ratio


def test_noise_takes_part_in_the_uncertainty_under_test(repeated):
    """The coverage test would prove little if noise were negligible: it is over a quarter of the total."""
    for index in UNKNOWN:
        vial = repeated[0].vials[index]
        assert dict(vial.contributions)["noise"] > vial.uncertainty / 4


def test_intervals_contain_the_truth_at_the_stated_rate(repeated):
    """95 % intervals over 24 scans whose every stated value is wrong within its tolerance.

    Each vial's misses are binomial (24, 0.05): 6 or more happen by chance in 0.1 % of cases. The bounds on
    the normalised error's scatter (99.9 % each side, 24 degrees of freedom) fail an uncertainty too large.
    """
    for index in UNKNOWN:
        vials = [result.vials[index] for result in repeated]
        misses = sum(not vial.interval[0] <= TRUTH[index] <= vial.interval[1] for vial in vials)
        assert misses < 6, (index, misses)
        errors = np.array([(vial.concentration - TRUTH[index]) / vial.uncertainty for vial in vials])
        low, high = scipy.stats.chi2.ppf([1e-3, 1 - 1e-3], 24) / 24
        assert low < np.mean(errors**2) < high, (index, np.mean(errors**2))


def test_contributions_add_up_to_the_uncertainty(clean):
    """The causes are independent, so their squares sum to the square of the total."""
    for vial in clean.vials:
        total = np.sqrt(sum(part**2 for _, part in vial.contributions))
        assert total == pytest.approx(vial.uncertainty, rel=1e-6)


def test_contributions_follow_from_the_signal_equation(simulation, image_of, phantom, readout):
    """Gel against saline references: each cause is the derivative of w saline / w gel times its tolerance.

    T1 of both materials and the flip angle (at 70 degrees, where it matters) enter through the steady
    state only, so closed-form derivatives tell the budget; references enter through the line's slope.
    """
    flip = np.deg2rad(70)
    vials = tuple(
        replace(vial, concentration=None if index in GELS else vial.concentration)
        for index, vial in enumerate(phantom.vials)
    )
    protocol = Protocol(0.1, flip, 0.03)
    images = image_of(simulation.signal(flip=flip))
    vial = quantify(images, replace(phantom, vials=vials), readout, protocol, draws=100).vials[5]

    def ratio(saline=1.0, gel=1.0, angle=1.0):
        weights = []
        for t1 in (0.055 * saline, 0.040 * gel):
            e1 = np.exp(-0.1 / t1)
            weights.append(np.sin(flip * angle) * (1 - e1) / (1 - np.cos(flip * angle) * e1))
        return weights[0] / weights[1]

    def relative(step):
        up, down = (ratio(**{step: 1 + sign * 1e-4}) for sign in (1, -1))
        return (up - down) / 2e-4 / ratio()

    parts = dict(vial.contributions)
    t1 = 0.03 * np.hypot(relative("saline"), relative("gel"))
    assert parts["T1"] / vial.concentration == pytest.approx(t1, rel=0.01)
    assert parts["flip angle"] / vial.concentration == pytest.approx(abs(0.03 * relative("angle")), rel=0.01)
    assert 0.01 / np.sqrt(2) * 0.99 < parts["reference concentrations"] / vial.concentration < 0.01


def test_spill_between_the_computed_t2_stars_is_interpolated(phantom, readout, grid):
    """At 5 % more T2* the parabola gives the directly computed matrix to 2 % of its change."""
    cores = np.stack([core_weights(grid, vial) for vial in phantom.vials])
    below, here, above, exact = (
        spill_matrix(phantom, readout, grid, cores, t2_star_scale=scale).vials
        for scale in (0.9, 1.0, 1.1, 1.05)
    )
    found = _parabola(below, here, above, np.array(1.05))
    assert np.abs(exact - here).max() > 1e-3
    np.testing.assert_allclose(found, exact, atol=0.02 * np.abs(exact - here).max())


def test_the_line_passes_through_the_origin(clean):
    """Coherent combination has no noise floor, so no intercept may show, and the references fit."""
    assert not clean.regression.has_intercept
    assert clean.regression.lack_of_fit_probability > 0.01


def test_a_wrong_reference_is_noticed(simulation, image_of, phantom, readout):
    """A reference prepared 15 % off its label (with 1 % stated) cannot lie on the line."""
    concentrations = TRUTH.copy()
    concentrations[2] *= 1.15
    result = quantify(image_of(simulation.signal(concentrations)), phantom, readout, PROTOCOL)
    assert result.regression.lack_of_fit_probability < 0.01


def test_one_reference_is_refused(simulation, image_of, phantom, readout):
    """A line through the origin could be drawn, but nothing would check it."""
    vials = tuple(
        replace(vial, concentration=None) if index != 1 else vial for index, vial in enumerate(phantom.vials)
    )
    with pytest.raises(MeasurementError, match="two reference vials, the phantom has 1"):
        quantify(image_of(simulation.signal()), replace(phantom, vials=vials), readout, PROTOCOL)
