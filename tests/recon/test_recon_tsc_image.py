"""Concentrations from a finished image: a phantom drawn voxel by voxel, of known concentrations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.grid import Grid
from recon.phantom import Material, Phantom, Tolerance, Vial
from recon.relaxation import Relaxation
from recon.tsc.image_calibration import ImageQuantification, quantify_image
from recon.tsc.image_reading import PhantomImage
from recon.tsc.protocol import Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = Grid((52, 60, 66), (0.182, 0.192, 0.198))
WATER = Material("saline", Relaxation(0.05, ((1.0, 0.04),)))
GEL = Material("gel", Relaxation(0.035, ((0.6, 0.004), (0.4, 0.022))))
PROTOCOL = Protocol(0.06, 1.2)
ECHO_TIME = 0.8e-3
#: Name, angle, material, true concentration in mmol/L, whether it calibrates.
VIALS = (
    ("R1", 0.2, WATER, 40.0, True),
    ("R2", 1.3, WATER, 80.0, True),
    ("R3", 2.2, GEL, 120.0, True),
    ("R4", 3.3, GEL, 150.0, True),
    ("C1", 4.3, GEL, 60.0, False),
    ("C2", 5.4, WATER, 110.0, False),
)
TRUTH = {name: truth for name, _, _, truth, _ in VIALS}


def phantom() -> Phantom:
    return Phantom(
        (0.0, 0.0, 0.0),
        0.08,
        WATER,
        tuple(
            Vial(
                name,
                (0.052 * np.cos(angle), 0.052 * np.sin(angle), 0.004 * index - 0.01),
                0.016,
                material,
                truth if calibrates else None,
                Tolerance(0.01),
            )
            for index, (name, angle, material, truth, calibrates) in enumerate(VIALS)
        ),
    )


def signal(material: Material, concentration: float) -> float:
    """Return the signal per voxel by the Ernst equation and the decay, written out."""
    e1, cosine, sine = np.exp(-0.06 / material.relaxation.t1), np.cos(1.2), np.sin(1.2)
    decay = sum(part * np.exp(-0.8e-3 / time) for part, time in material.relaxation.t2_star)
    return float(concentration * sine * (1 - e1) / (1 - cosine * e1) * decay)


def draw(*, noise: float, floor: float = 0.0, shading: float = 0.0, seed: int = 1) -> NDArray[Any]:
    image = signal(WATER, 20.0) * (GRID.distances((0, 0, 0)) <= 0.08)
    for vial in phantom().vials:
        image[GRID.distances(vial.centre) <= vial.radius] = signal(vial.material, TRUTH[vial.name])
    image = image * (1 + shading * GRID.positions()[..., 0] / 0.08)
    return np.asarray(image + floor + noise * np.random.default_rng(seed).standard_normal(image.shape))


def measure(image: NDArray[Any], made: Phantom | None = None) -> ImageQuantification:
    made = made or phantom()
    seen = PhantomImage(image, GRID.positions(), made, max(GRID.spacing))
    readings = tuple(seen.read(vial) for vial in made.vials)
    return quantify_image(made, readings, seen.unevenness(), PROTOCOL, ECHO_TIME)


def test_a_drawn_phantom_has_its_concentrations_within_their_uncertainty() -> None:
    """Two materials, a noise floor of 8 % of the bath: intercept and relaxation are taken off."""
    found = measure(draw(noise=0.4, floor=1.0))
    for vial in found.vials:
        assert vial.concentration == pytest.approx(TRUTH[vial.name], abs=2.5 * vial.uncertainty)
    # references of 1 %, T2* of 5 % of gel, T1 of 3 %: some percent, not some tenths
    assert all(0.005 < vial.uncertainty / TRUTH[vial.name] < 0.08 for vial in found.vials)
    assert found.line.lack_of_fit_probability > 0.01


def test_the_uncertainty_by_noise_is_the_scatter_of_repeated_scans() -> None:
    """20 scans that differ in noise alone: their scatter is the budget's part by noise, within 3 × 16 %."""
    runs = [measure(draw(noise=4.0, seed=seed)).vials for seed in range(20)]
    for index in (4, 5):
        scatter = np.std([vials[index].concentration for vials in runs], ddof=1)
        stated = np.mean([dict(vials[index].contributions)["noise"] for vials in runs])
        assert scatter == pytest.approx(stated, rel=0.48)


def test_a_linear_shading_is_taken_off_and_a_bent_one_is_in_the_budget() -> None:
    """± 20 % across the ball change nothing; cos(9 x / R) bends beyond fourth order and leads the budget."""
    shaded = measure(draw(noise=0.2, shading=0.2))
    assert shaded.unevenness < 0.01
    for vial in shaded.vials:
        assert vial.concentration == pytest.approx(TRUTH[vial.name], abs=2.5 * vial.uncertainty)
    bent = measure(draw(noise=0.2) * (1 + 0.1 * np.cos(9 * GRID.positions()[..., 0] / 0.08)))
    assert bent.unevenness > 0.015
    assert bent.vials[5].contributions[0][0] == "unevenness"
    for vial in bent.vials:
        assert vial.concentration == pytest.approx(TRUTH[vial.name], abs=3 * vial.uncertainty)


def test_a_map_of_the_bath_is_the_baths_concentration() -> None:
    image = draw(noise=0.1, shading=0.1)
    even = PhantomImage(image, GRID.positions(), phantom(), max(GRID.spacing)).even
    bath = measure(image).concentration_map(even)[26, 30, 33]
    assert bath == pytest.approx(20.0, abs=1.5)


def test_a_phantom_that_lies_elsewhere_or_is_too_small_is_refused() -> None:
    flat = 5 + 0.3 * np.random.default_rng(2).standard_normal(GRID.shape)
    small = replace(phantom(), vials=tuple(replace(vial, radius=0.004) for vial in phantom().vials))
    with pytest.raises(MeasurementError, match="wider than four voxels"):
        measure(flat, small)
    with pytest.raises(MeasurementError, match="no signal"):
        measure(np.zeros(GRID.shape))
    with pytest.raises(MeasurementError, match="does not rise"):
        measure(flat)
