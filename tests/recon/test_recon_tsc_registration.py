"""Where the phantom lies, found from images whose k-space is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from coilbench.base.errors import MeasurementError
from recon.dataset import Dataset
from recon.live import reconstruct
from recon.noise import noise_model
from recon.phantom import Pose
from recon.tsc import quantify
from recon.tsc.protocol import Protocol
from recon.tsc.registration import register

PROTOCOL = Protocol(0.1, np.pi / 2, 0.03)


def white_noise(shape, sigma, seed):
    parts = np.random.default_rng(seed).standard_normal((2, *shape), dtype=np.float32)
    return (sigma * (parts[0] + 1j * parts[1])).astype(np.complex64)


@pytest.fixture(scope="module")
def image_of(simulation, grid):
    """Return the images of the phantom, seen by a frame that is moved instead of the phantom."""
    model = noise_model(white_noise((8, 64, 256), 1.0, 99), 50e-6, passband=1.0)

    def image(sigma, seed=0):
        signal = simulation.signal()
        level = sigma * float(np.abs(signal).max())
        samples = signal / np.float32(level) + white_noise(signal.shape, 1.0, seed)
        return reconstruct(Dataset("moved", samples, simulation.trajectory, grid, 50e-6), noise=model)

    return image


@pytest.fixture(scope="module")
def misdescribed(phantom):
    """Return the phantom as somebody wrongly describes it, and the pose that puts it right.

    The description's vials are turned and shifted back, so the true phantom is the described one, moved.
    """
    pose = Pose((0.0031, -0.0042, 0.0024), (0.05, -0.03, 0.08))
    turn = Rotation.from_rotvec(pose.rotation)
    back = tuple(
        replace(vial, centre=tuple(float(x) for x in turn.inv().apply(vial.centre) - pose.translation))
        for vial in phantom.vials
    )
    centre = tuple(-x for x in pose.translation)
    about = np.array(centre)
    vials = tuple(
        replace(vial, centre=tuple(float(x) for x in about + turn.inv().apply(np.array(true.centre))))
        for vial, true in zip(back, phantom.vials, strict=True)
    )
    return replace(phantom, centre=centre, vials=vials), pose


def misplaced(described, found, phantom):
    lying = described.moved(found.pose)
    return [np.subtract(a.centre, b.centre) for a, b in zip(lying.vials, phantom.vials, strict=True)]


def test_the_true_pose_puts_the_description_right(misdescribed, phantom):
    described, pose = misdescribed
    lying = described.moved(pose)
    for vial, true in zip(lying.vials, phantom.vials, strict=True):
        np.testing.assert_allclose(vial.centre, true.centre, atol=1e-12)


def test_a_moved_phantom_is_found_to_a_tenth_of_a_voxel(image_of, misdescribed, phantom, readout):
    """6 mm and 5 degrees off its description, voxels of 6.25 mm: all vials within 0.4 mm."""
    described, _ = misdescribed
    found = register(image_of(1e-3), described, readout)
    assert np.abs(misplaced(described, found, phantom)).max() < 0.4e-3


def test_it_works_at_an_snr_of_five_with_its_stated_uncertainty(image_of, misdescribed, phantom, readout):
    """Voxel SNR of the bath about 5: places scatter as stated.

    6 scans of 7 vials and 3 axes with 6 degrees of freedom each: 36 in all; chi-squared within 99.9 %.
    """
    described, _ = misdescribed
    squares = []
    for seed in range(6):
        images = image_of(0.15, seed)
        found = register(images, described, readout)
        errors = np.array(misplaced(described, found, phantom))
        squares.append(np.mean(errors**2) / found.position_uncertainty**2)
        assert np.abs(errors).max() < 3e-3
    level = quantify(images, phantom, readout, PROTOCOL, draws=100)
    snr = np.median(level.background / level.noise[level.noise > 0])
    assert 3 < snr < 8, snr
    # The stated value is the largest of all vials and axes, so the mean square is below 1.
    assert 0.1 < np.mean(squares) < 2.2, squares


def test_the_users_position_overrides(image_of, misdescribed, phantom, readout):
    """Quantified with the stated pose: as good as with the right description, and far better than without."""
    described, pose = misdescribed
    images = image_of(1e-3)
    right = quantify(images, phantom, readout, PROTOCOL, draws=100)
    stated = quantify(images, described, readout, PROTOCOL, pose=pose, draws=100)
    unmoved = quantify(images, described, readout, PROTOCOL, draws=100)
    for index, vial in enumerate(right.vials):
        assert stated.vials[index].concentration == pytest.approx(vial.concentration, rel=1e-6)
    off = [
        abs(a.concentration / b.concentration - 1) for a, b in zip(unmoved.vials, right.vials, strict=True)
    ]
    assert max(off) > 0.05
    assert stated.pose == pose


def test_another_phantom_is_refused(image_of, phantom, readout):
    """Vials described where there are none: at the poles instead of the equator."""
    turn = Rotation.from_rotvec([0.0, np.pi / 2, 0.0])
    vials = tuple(
        replace(vial, centre=tuple(float(x) for x in turn.apply(vial.centre))) for vial in phantom.vials
    )
    with pytest.raises(MeasurementError, match="state its position"):
        register(image_of(1e-3), replace(phantom, vials=vials), readout)


def test_without_vials_no_turn_shows(image_of, phantom, readout):
    with pytest.raises(MeasurementError, match="no vials"):
        register(image_of(1e-3), replace(phantom, vials=()), readout)


def test_noise_and_systematic_maps_are_apart(image_of, phantom, readout):
    """Four times the noise: the noise map grows fourfold, the systematic map hardly; both positive inside."""
    quiet, loud = (quantify(image_of(sigma), phantom, readout, PROTOCOL, draws=100) for sigma in (2e-3, 8e-3))
    body = quiet.noise > 0
    assert np.median(loud.noise[body] / quiet.noise[body]) == pytest.approx(4.0, rel=0.03)
    assert np.median(loud.systematic[body] / quiet.systematic[body]) < 2.0
    for result in (quiet, loud):
        bath = result.systematic[body] / np.abs(result.concentration[body])
        assert np.all(bath > 0.004), "references alone leave 0.01 / sqrt(3)"


def test_rows_carry_the_budget(image_of, phantom, readout):
    result = quantify(image_of(2e-3), phantom, readout, PROTOCOL, draws=500)
    rows = result.as_rows()
    assert [row["vial"] for row in rows] == [vial.name for vial in phantom.vials]
    assert [row["role"] for row in rows].count("reference") == 3
    for row, vial in zip(rows, result.vials, strict=True):
        total = row["noise_mmol_l"] ** 2 + row["systematic_mmol_l"] ** 2
        assert np.sqrt(total) == pytest.approx(vial.uncertainty, rel=1e-6)
        parts = [value for key, value in row.items() if key.startswith("u_")]
        assert np.linalg.norm(parts) == pytest.approx(vial.uncertainty, rel=1e-6)
