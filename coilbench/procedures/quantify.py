"""From scanned channel images to SNR, noise against the S-matrix, and sodium concentrations."""

from __future__ import annotations

import typing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.verdict import Judged, judge
from coils.covariance import compare_covariance, noise_covariance
from recon.phantom import Material, Phantom, Tolerance, Vial
from recon.regions import background_mask, body_mask
from recon.relaxation import Relaxation
from recon.snr import channel_snr, snr_of_noise_scan
from recon.tsc import Protocol, quantify
from recon.tsc.registration import register
from recon.voxel_noise import (
    NoiseRatio,
    independent_fraction,
    noise_of_pseudo_replica,
    noise_of_repeated_scans,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coilbench.bench_file import BenchFile, PhantomFile
    from coilbench.bench_file import Material as BenchMaterial
    from coilbench.procedures.scan import Scanned
    from coils.covariance import CovarianceComparison
    from recon.live import ChannelImages
    from recon.noise import NoiseModel
    from recon.snr import Snr, SnrMap
    from recon.tsc import TscResult


@dataclass(frozen=True, slots=True)
class NoiseCheck:
    """The receivers' noise beside the one that the S-matrix predicts.

    Parameters
    ----------
    measured, predicted
        Covariance at the receivers' input in V², shape (channel, channel).
    comparison
        How far they are apart in units of the sampling error.
    """

    measured: NDArray[np.complex128]
    predicted: NDArray[np.complex128]
    comparison: CovarianceComparison

    @property
    def worst_level_db(self) -> float:
        """Noise power over its prediction in dB, of the channel that is farthest off; without a sign."""
        return float(np.max(np.abs(10.0 * np.log10(self.comparison.power_ratio))))


@dataclass(frozen=True, slots=True)
class Quantified:
    """What a scan says about the phantom.

    Parameters
    ----------
    snr
        Of every voxel, by the noise scan, shape (z, y, x).
    background_snr
        Median over the background compartment, away from all walls.
    channel_snr
        Of each receive channel's own image there (not whitened: channel 5 is receiver 5), root mean square.
    pseudo_replica, repeated_scans
        Noise found over noise predicted; the latter only where the scan was repeated.
    tsc
        Concentrations with their uncertainty budget, and the map.
    """

    snr: SnrMap
    background_snr: Snr
    channel_snr: tuple[Snr, ...]
    pseudo_replica: NoiseRatio
    repeated_scans: NoiseRatio | None
    tsc: TscResult

    @property
    def median_snr(self) -> float:
        """Value of ``background_snr``."""
        return self.background_snr.value


def check_noise(
    file: BenchFile, noise: NoiseModel, noise_bandwidth: float, s: NDArray[np.complex128], /
) -> NoiseCheck:
    """Compare the noise pre-scan with C = kTB(I - S Sᴴ) plus the preamplifiers' noise.

    Parameters
    ----------
    file
        States gain, noise figure and temperature.
    noise
        In volts at the receivers' input.
    noise_bandwidth
        Of the receive chain, Hz.
    s
        S-matrix of the receiving ports at the scan's frequency, every other port terminated at the
        same temperature; shape (channel, channel).
    """
    array = file.array
    waves = noise_covariance(
        s,
        bandwidth=noise_bandwidth,
        temperature=array.temperature,
        noise_figure_db=array.preamplifier_noise_figure_db,
    )
    # A wave of power P has the peak envelope sqrt(2 P Z0); the preamplifier multiplies it by its gain.
    gain = 10.0 ** (array.preamplifier_gain_db / 20.0)
    predicted = waves * 2.0 * array.reference_impedance * gain**2
    return NoiseCheck(
        noise.covariance, predicted, compare_covariance(noise.covariance, predicted, noise.effective_samples)
    )


def judge_noise(
    noise: NoiseModel, check: NoiseCheck, /, *, correlation: float, level_db: float
) -> tuple[Judged, ...]:
    """Judge the largest correlation, and the level that is farthest off its prediction.

    Parameters
    ----------
    noise, check
        Of the receivers.
    correlation, level_db
        Limits.
    """
    samples = noise.effective_samples
    return (
        judge(
            "largest noise correlation",
            noise.largest_correlation,
            "",
            uncertainty=2.0 / samples**0.5,
            at_most=correlation,
        ),
        judge(
            "noise level off its prediction",
            check.worst_level_db,
            "dB",
            # 95 % of a power ratio from so many samples: 10/ln(10) times twice its relative deviation
            uncertainty=8.7 / samples**0.5,
            at_most=level_db,
        ),
    )


class VialResult(typing.Protocol):
    """What a vial was found to hold."""

    @property
    def name(self) -> str:
        """Of the vial."""
        ...

    @property
    def concentration(self) -> float:
        """In mmol/L."""
        ...

    @property
    def expanded_uncertainty(self) -> float:
        """Half width of the 95 % interval in mmol/L."""
        ...


def judge_vials(file: PhantomFile, vials: Sequence[VialResult], /) -> tuple[Judged, ...]:
    """Judge the error of every check vial against the file's limit."""
    truth = {vial.name: vial.concentration_mmol_l for vial in file.phantom.vials if vial.role == "check"}
    return tuple(
        judge(
            f"[Na] error of {vial.name}",
            abs(vial.concentration - truth[vial.name]),
            "mmol/L",
            uncertainty=vial.expanded_uncertainty,
            at_most=file.limits.tsc_tolerance_mmol_l,
        )
        for vial in vials
        if vial.name in truth
    )


def quantify_scan(file: BenchFile, scanned: Scanned, /) -> Quantified:
    """Measure SNR and sodium concentration; repeated scans are averaged for the concentration.

    Raises
    ------
    MeasurementError
        The phantom does not fit the image, or the signal is too weak to calibrate.
    """
    first = scanned.images[0]
    phantom = phantom_model(file)
    plan = scanned.plan
    images = average_scans(scanned.images)
    found = register(images, phantom, scanned.readout)
    tsc = quantify(
        images,
        phantom,
        scanned.readout,
        Protocol(plan.repetition_time, plan.flip_angle),
        pose=found.pose,
        position_uncertainty=found.position_uncertainty,
    )
    lying = phantom.moved(found.pose)
    body = body_mask(first.grid, lying)
    background = background_mask(first.grid, lying)
    fraction = independent_fraction(first)
    snr = snr_of_noise_scan(first.images, first.noise_gain, scanned.noise, sensitivities=tsc.sensitivities)
    repeated = None
    if len(scanned.images) > 1:
        repeated = noise_of_repeated_scans(first, scanned.images[1], tsc.sensitivities, body)
    return Quantified(
        snr=snr,
        background_snr=snr.median(background, independent_fraction=fraction),
        channel_snr=channel_snr(first, scanned.noise, background, independent_fraction=fraction),
        pseudo_replica=noise_of_pseudo_replica(first, tsc.sensitivities, body),
        repeated_scans=repeated,
        tsc=tsc,
    )


def phantom_model(file: PhantomFile, /) -> Phantom:
    """Return the bench file's phantom as the quantification wants it; check vials lose their truth."""
    materials = {name: _material(name, made) for name, made in file.phantom.materials.items()}
    return Phantom(
        centre=(0.0, 0.0, 0.0),
        radius=file.phantom.radius,
        background=materials[file.phantom.background],
        vials=tuple(
            Vial(
                name=vial.name,
                centre=vial.position,
                radius=vial.radius,
                material=materials[vial.material],
                concentration=vial.concentration_mmol_l if vial.role == "reference" else None,
                concentration_tolerance=Tolerance(vial.preparation_tolerance),
            )
            for vial in file.phantom.vials
        ),
    )


def _material(name: str, made: BenchMaterial) -> Material:
    t2_star: tuple[tuple[float, float], ...] = ((1.0, made.t2_long),)
    if made.t2_short is not None:
        t2_star = ((made.short_fraction, made.t2_short), (1.0 - made.short_fraction, made.t2_long))
    return Material(
        name=name,
        relaxation=Relaxation(made.t1, t2_star),
        t1_tolerance=Tolerance(made.t1_tolerance),
        t2_star_tolerance=Tolerance(made.t2_tolerance),
    )


def average_scans(images: tuple[ChannelImages, ...], /) -> ChannelImages:
    """Return the mean of repeated scans: the same weights at every point, spread over more samples.

    Parameters
    ----------
    images
        At least one scan, all of the same trajectory, grid and channels.
    """
    if len(images) == 1:
        return images[0]
    count = len(images)
    total = images[0].images.copy()
    for scan in images[1:]:
        total += scan.images
    # Equal trajectories: n samples with w/n each make the same noise as one sample with w/sqrt(n).
    return replace(
        images[0],
        images=total / np.float32(count),
        noise_gain=images[0].noise_gain / np.sqrt(count),
        weights=(images[0].weights / np.float32(np.sqrt(count))),
        spokes=sum(scan.spokes for scan in images),
        averages=count,
    )
