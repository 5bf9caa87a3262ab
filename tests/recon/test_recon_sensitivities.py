"""Sensitivities from images, from k-space and from drawings against the fields that made the images."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from coils.magnetics.arrays import cylinder_array
from coils.magnetics.field import magnetic_field, receive_field
from recon.grid import Grid
from recon.sensitivities import (
    FromDrawing,
    FromImages,
    FromPhantom,
    GriddedChannels,
    espirit_sensitivities,
    fit_harmonics,
    fit_predicted,
    low_resolution_sensitivities,
    walsh_sensitivities,
)
from recon.sensitivities.spectrum import central_spectrum, spectrum_images

GRID = Grid((30, 28, 32), (0.25, 0.24, 0.26))
CHANNELS = 6
METHODS = {
    "low resolution": low_resolution_sensitivities,
    "Walsh": walsh_sensitivities,
    "ESPIRiT": espirit_sensitivities,
}


def white(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


@pytest.fixture(scope="module")
def fields():
    """Biot-Savart: B1- of six overlapped loops of 120 mm radius, 0 beyond 110 mm, largest value 1."""
    loops = cylinder_array(CHANNELS, 0.12, 0.12, 1e-3)
    positions = GRID.positions()
    near = np.hypot(positions[..., 0], positions[..., 1]) < 0.11
    result = np.zeros((CHANNELS, *GRID.shape), np.complex128)
    result[:, near] = receive_field(magnetic_field(loops, positions[near]))
    return result / np.abs(result).max()


@pytest.fixture(scope="module")
def bath():
    return GRID.distances((0, 0, 0)) < 0.085


@pytest.fixture(scope="module")
def images(fields, bath):
    """Return a ball of 1 with vials of 0.4 and 2.5, noise of 1 % of the median channel signal (seed 4)."""
    content = bath.astype(float)
    content[GRID.distances((0.03, 0.02, 0)) < 0.02] = 0.4
    content[GRID.distances((-0.03, 0, 0.02)) < 0.02] = 2.5
    clean = fields * content
    return (clean + 0.01 * np.median(np.abs(clean[:, bath])) * white(clean.shape, 4)).astype(np.complex64)


def correlation(maps, fields, mask):
    """Return |<map, field>| over their norms in every voxel of the mask."""
    product = np.abs(np.sum(maps.conj() * fields, axis=0))[mask]
    return product / np.sqrt((np.sum(np.abs(maps) ** 2, axis=0) * np.sum(np.abs(fields) ** 2, axis=0))[mask])


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_fields_of_the_coils(method, images, fields, bath):
    """0.995 in the mean, 0.97 in all but a hundredth: what the best of the peers reach on loop arrays.

    A correlation of 0.995 costs a combined image half a per cent of its SNR.
    """
    found = correlation(METHODS[method](images), fields, bath)
    assert found.mean() > 0.995
    assert np.quantile(found, 0.01) > 0.97


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_unit_norm_and_do_not_depend_on_scale_or_channel_order(method, images, bath):
    """The sum of squares is 1 wherever there is an object; channels reversed give the maps reversed."""
    maps = METHODS[method](images)
    np.testing.assert_allclose(np.sum(np.abs(maps) ** 2, axis=0)[bath], 1, atol=1e-4)
    other = METHODS[method]((7j * images[::-1]).astype(np.complex64))[::-1]
    assert correlation(maps, other, bath).min() > 1 - 1e-4


@pytest.mark.parametrize("method", ["Walsh", "ESPIRiT"])
def test_the_common_phase_is_smooth(method, images, bath):
    """Neighbours along x differ by less than 0.5 rad in any channel: no sign flips between voxels."""
    maps = METHODS[method](images)
    pairs = bath[:, :, 1:] & bath[:, :, :-1]
    steps = np.linalg.norm(maps[..., 1:] - maps[..., :-1], axis=0)[pairs]
    assert steps.max() < 0.5


def test_espirit_knows_where_there_is_no_object(images):
    """The map is 0 beyond the ball's blur, which the other maps fill with noise."""
    maps = espirit_sensitivities(images)
    outside = GRID.distances((0, 0, 0)) > 0.12
    assert np.mean(np.abs(maps[:, outside]).max(axis=0) == 0) > 0.95
    assert np.all(np.abs(espirit_sensitivities(images, crop=0)[:, outside]).max(axis=0) > 0)


def test_espirit_refuses_blocks_that_its_grid_cannot_hold(images):
    with pytest.raises(ValueError, match="at least 2"):
        espirit_sensitivities(images, block=8, coarse=12)


# --- the centre of k-space


@pytest.mark.parametrize("shape", [(6, 8, 10), (7, 9, 11), (6, 9, 8)])
def test_all_coefficients_give_the_image_back(shape):
    images = white((2, *shape))
    np.testing.assert_allclose(spectrum_images(central_spectrum(images, shape), shape), images, atol=1e-5)


@pytest.mark.parametrize("counts", [(3, 4, 5), (5, 7, 4)])
def test_a_wave_is_the_same_wave_on_any_grid(counts):
    """exp(2 pi i k.r / FOV) with k = (1, -1, 0), sampled on (8, 9, 7) and remade on (13, 10, 16)."""

    def wave(shape):
        z, y, _ = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
        return np.exp(2j * np.pi * (z - y))[None].astype(np.complex64)

    spectrum = central_spectrum(wave((8, 9, 7)), counts)
    centre = [count // 2 for count in counts]
    assert spectrum[0, centre[0] + 1, centre[1] - 1, centre[2]] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(spectrum_images(spectrum, (13, 10, 16)), wave((13, 10, 16)), atol=1e-5)


def test_grids_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="hold no"):
        central_spectrum(white((1, 4, 4, 4)), (4, 5, 4))
    with pytest.raises(ValueError, match="do not fit"):
        spectrum_images(white((1, 4, 4, 4)), (4, 3, 4))


# --- predicted


@pytest.fixture(scope="module")
def mixed(fields, bath):
    """Channels that are unknown mixtures of the loops, in a bath with a hole, with noise (seed 6)."""
    mixing = np.diag(np.exp(1j * np.arange(CHANNELS))) + 0.2 * white((CHANNELS, CHANNELS), 5)
    truth = np.einsum("cl,lzyx->czyx", mixing, fields)
    mask = bath & (GRID.distances((0, 0, 0.02)) > 0.03)
    noisy = np.where(mask, truth, 0) + 1e-3 * white(truth.shape, 6)
    return truth, noisy.astype(np.complex64), mask


def test_predicted_fields_are_found_through_coupling_and_whitening(mixed, fields, bath):
    """The fit also holds in the hole where there was no signal; its error there is the noise's.

    The noise of 1e-3 per part, over 6 unknowns and thousands of voxels, leaves far less than 1 %.
    """
    truth, images, mask = mixed
    fit = fit_predicted(images, fields, mask)
    hole = bath & ~mask
    error = np.linalg.norm(fit.evaluate(fields)[:, hole] - truth[:, hole]) / np.linalg.norm(truth[:, hole])
    assert error < 0.01
    signal = np.sqrt(np.mean(np.abs(truth[:, mask]) ** 2, axis=1))
    np.testing.assert_allclose(fit.residuals, np.sqrt(2) * 1e-3 / signal, rtol=0.05)


def test_a_channel_of_its_own_loop_needs_one_number(fields, bath):
    """The number comes back; with the drawing turned by half a loop a large part is left."""
    factors = np.array([1, 2j, -1, 0.5, 1 + 1j, 3])
    images = (factors[:, None, None, None] * fields).astype(np.complex64)
    fit = fit_predicted(images, fields, bath, mixing="channel")
    np.testing.assert_allclose(np.diag(fit.mixing), factors, rtol=1e-5)
    wrong = fit_predicted(images, np.roll(fields, 1, axis=0), bath, mixing="channel")
    assert np.all(wrong.residuals > 0.3)


def test_the_expected_shape_of_the_bath_is_divided_out(fields, bath):
    shape = 1 + 0.1 * np.cos(GRID.distances((0, 0, 0)) / 0.01)
    fit = fit_predicted((fields * shape).astype(np.complex64), fields, bath, shape=shape)
    np.testing.assert_allclose(fit.mixing, np.eye(CHANNELS), atol=1e-4)


def test_what_cannot_be_fitted_is_refused(mixed, fields, bath):
    _, images, mask = mixed
    few = np.zeros_like(mask)
    few[15, 14, :8] = True
    with pytest.raises(MeasurementError, match="only 8 voxels"):
        fit_predicted(images, fields, few)
    silent = images.copy()
    silent[2] = 0
    with pytest.raises(MeasurementError, match="no signal in the bath from channel 3"):
        fit_predicted(silent, fields, mask)
    with pytest.raises(ValueError, match="one loop each"):
        fit_predicted(images[:5], fields, bath, mixing="channel")
    with pytest.raises(ValueError, match="differ in grid"):
        fit_predicted(images, fields[:, 1:], mask)


# --- handed to a reconstruction


def test_sensitivities_measured_another_day_are_whitened_and_compressed_like_the_data(fields, bath):
    """Five virtual channels of six: the maps are the mixed fields within the harmonics' truncation.

    At 60 mm inside loops at 120 mm degree 6 leaves (60 / 120)^7 = 0.8 % of a field.
    """
    fit = fit_harmonics(fields.astype(np.complex64), GRID.positions(), bath, centre=(0, 0, 0), radius=0.085)
    mixing = white((5, CHANNELS), 9).astype(np.complex128)
    mixed = np.einsum("vc,czyx->vzyx", mixing, fields)
    maps, note = FromPhantom(fit, "monday")(GriddedChannels(mixed.astype(np.complex64), GRID, mixing, np.nan))
    inner = GRID.distances((0, 0, 0)) < 0.06
    assert np.linalg.norm((maps - mixed)[:, inner]) < 0.01 * np.linalg.norm(mixed[:, inner])
    assert np.all(maps[:, GRID.distances((0, 0, 0)) > 0.085] == 0)
    assert "monday" in note
    with pytest.raises(
        MeasurementError, match="of 6 channels were measured in monday, but these data have 4"
    ):
        FromPhantom(fit, "monday")(GriddedChannels(maps, GRID, mixing[:, :4], np.nan))


def test_a_drawing_says_how_well_it_fits_beside_the_noise(mixed, fields):
    """The right loops leave the noise; turned by one loop, many times that, and the channel is named."""
    _, images, mask = mixed
    channels = GriddedChannels(images, GRID, np.eye(CHANNELS, dtype=np.complex128), 1e-3)
    maps, note = FromDrawing(lambda _positions: fields, lambda _grid: mask)(channels)
    assert "of 6 loops; in the bath the fit leaves 1.00 times the noise, at most 1.0" in note
    np.testing.assert_allclose(maps[:, mask], images[:, mask], atol=8e-3)
    shifted = FromDrawing(lambda _positions: fields[..., ::-1], lambda _grid: mask)
    assert float(shifted(channels)[1].split("leaves ")[1].split()[0]) > 5


def test_a_single_channel_is_taken_as_even():
    images = white((1, 6, 7, 8))
    channels = GriddedChannels(images, GRID, np.eye(1, dtype=np.complex128), np.nan)
    maps, note = FromImages("espirit")(channels)
    assert np.all(maps == 1)
    assert "one channel" in note
