"""Numbers of a phantom in foreign data, each with what it needs; what is lacking is said, not guessed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.quantities import Quantity
from recon import ghost, outline
from recon import uniformity as piu

if TYPE_CHECKING:
    from coilbench.foreign_scene import ReceivedScan, Scene

#: Of 10 log10(power): 10 / ln(10).
_DECIBEL: Final = 4.342944819


def measure_scene(scene: Scene, /) -> tuple[list[Quantity], list[str]]:
    """Return every number of the slice that is looked at, and what could not be measured, a line each."""
    quantities, missing = [scene.snr], []
    for part in (_uniformity, _ghosting, _extents):
        try:
            quantities += part(scene)
        except MeasurementError as error:
            missing.append(f"not measured: {error}")
    if not scene.is_noise_known:
        missing.append(
            "not measured: noise-corrected uniformity: one image does not show its own noise; give a second "
            "scan of the same protocol"
        )
    return quantities, missing


def channel_quantities(received: ReceivedScan, /) -> list[Quantity]:
    """Return level and correlation of the noise; a dead channel has no level."""
    noise = received.noise
    state = partial(Quantity, algorithm="noise pre-scan", version="1")
    spread = _DECIBEL * noise.variance_uncertainty
    levels = [
        state(
            "noise level",
            None if number in noise.dead_channels else float(20 * np.log10(noise.sigma[number - 1])),
            "dB(sample)",
            spread,
            place=f"channel {number}",
        )
        for number in range(1, noise.channels + 1)
    ]
    return [
        *levels,
        state("noise correlation, mean", noise.mean_correlation, "", noise.correlation_floor),
        state("noise correlation, largest", noise.largest_correlation, "", noise.correlation_floor),
        state("noise bandwidth ratio, mean", noise.mean_bandwidth_ratio),
    ]


def _uniformity(scene: Scene) -> list[Quantity]:
    if not scene.has_lengths:
        raise MeasurementError(
            "uniformity: it compares regions of 1 cm², and the file states no field of view"
        )
    grid = scene.slice_grid
    part = outline.central_part(scene.mask, grid, piu.CENTRAL_FRACTION)
    fraction = 1.0 if scene.received is None else scene.received.independent_fraction
    found = piu.uniformity(
        scene.slice_image,
        grid,
        part[None],
        deviation=scene.deviation,
        channels=scene.channels,
        independent_fraction=fraction,
    )
    state = partial(Quantity, algorithm=piu.ALGORITHM, version=f"{piu.VERSION}, slice")
    quantities = [state("uniformity, as it is", found.raw, "%")]
    if scene.is_noise_known:
        quantities += [
            state("uniformity, noise-corrected", found.corrected, "%", found.uncertainty),
            state("uniformity of noise alone", found.expected_of_noise, "%"),
        ]
    return quantities


def _ghosting(scene: Scene) -> list[Quantity]:
    """Return signal ghosting of a Cartesian slice, the streak ratio of a radial scan."""
    grid = scene.slice_grid
    centre, radius = outline.disk_of(scene.mask, grid)
    received = scene.received
    if received is not None and received.is_radial:
        z = float(scene.grid.axes()[0][scene.slice_number])
        found = ghost.streaks(
            received.whitened,
            scene.grid,
            (centre[0], centre[1], z),
            radius + 1.5 * scene.grid.resolution,
            0.5 * min(scene.grid.field_of_view),
            deviation=received.noise_gain,
            independent_fraction=received.independent_fraction,
        )
        return [
            Quantity(
                "streak ratio",
                found.ratio,
                "",
                found.uncertainty,
                algorithm=ghost.ALGORITHM,
                version=ghost.VERSION,
            )
        ]
    if not scene.has_lengths:
        raise MeasurementError("ghosting: its regions have 10 cm², and the file states no field of view")
    ratio = ghost.percent_signal_ghosting(scene.slice_image, grid, centre, radius)
    # four means of 10 cm² each, over twice the signal: 100 sqrt(4) sigma / sqrt(n) / 2 S
    voxels = 1e-3 / (grid.spacing[1] * grid.spacing[2])
    signal = float(np.mean(scene.slice_image[0][scene.mask]))
    return [
        Quantity(
            "signal ghosting",
            ratio,
            "%",
            100 * scene.deviation / (signal * voxels**0.5),
            algorithm=ghost.ALGORITHM,
            version=ghost.VERSION,
        )
    ]


def _extents(scene: Scene) -> list[Quantity]:
    if not scene.has_lengths:
        raise MeasurementError("geometry: the file states no field of view")
    both = outline.extents(
        scene.slice_image[0], scene.mask, scene.slice_grid, floor=scene.floor if scene.channels else 0.0
    )
    return [
        Quantity(
            f"extent along {axis}",
            1e3 * one.length,
            "mm",
            1e3 * one.uncertainty,
            algorithm=outline.ALGORITHM,
            version=outline.VERSION,
        )
        for axis, one in zip(("columns", "rows"), both, strict=True)
    ]
