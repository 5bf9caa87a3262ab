"""Scans that other people's machines made: one call from a file to an image, one to an SNR report.

What the file does not say is assumed and listed in ``notes``. Without a noise scan there are no SNR units
and no whitening; the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.fft

from coilbench.base.errors import MeasurementError
from recon.combine import combine_squares, snr_units
from recon.dataset import Dataset, read_file
from recon.density import iterate_weights, spoke_weights
from recon.noise import NoiseModel, apply_channels, noise_model
from recon.nufft import NonUniformTransform
from recon.probes import REPLICAS, probe_noise
from recon.sensitivities import low_resolution_sensitivities
from recon.snr import median_deviation_correction, snr_of_noise_scan, snr_of_pseudo_replicas

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.snr import Snr, SnrMap

#: Standard deviation of the median of many Gaussian values over that of their mean: sqrt(pi / 2).
_MEDIAN: Final = 1.2533
#: Voxels above this fraction of the largest SNR count as object.
OBJECT_THRESHOLD: Final = 0.25
#: Fewer spokes than this do not sample a sphere evenly enough for analytic weights.
_MANY_SPOKES: Final = 100
#: Pseudo-replicas of a Cartesian scan, each drawn in k-space: its transform is quick.
_REPLICAS: Final = 200
#: A trajectory counts as centre-out spokes when each one starts within this fraction of its end.
_CENTRE: Final = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """An image of a foreign scan.

    Parameters
    ----------
    name
        The file.
    image
        Combined magnitude, float32, shape (z, y, x); in SNR units when ``in_snr_units``.
    grid
        Where the voxels are.
    channels
        Number of receive channels.
    in_snr_units
        Whether there was a noise scan to scale with.
    channel_images
        complex64, shape (channel, z, y, x); whitened when there was noise.
    noise_gain
        Real standard deviation of the noise in whitened channel images.
    density
        ``"none"`` (Cartesian), ``"analytic"`` or ``"iterated"``.
    noise
        What the noise scan said, or None.
    notes
        What had to be assumed.
    """

    name: str
    image: NDArray[np.float32]
    grid: Grid
    channels: int
    in_snr_units: bool
    channel_images: NDArray[np.complex64]
    noise_gain: float
    density: str
    noise: NoiseModel | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SnrReport:
    """SNR of a foreign scan, by formula and by replicas.

    Parameters
    ----------
    name
        The file.
    snr
        Root-sum-of-squares image in units of its noise, values of shape (z, y, x).
    maximum
        Of ``snr``.
    median
        Over the object, noise floor removed.
    object_voxels
        Voxels above a quarter of the maximum.
    bandwidth_ratio
        Noise-equivalent bandwidth over the sampling rate, mean over the channels.
    mean_correlation, largest_correlation
        Absolute noise correlation of different channels.
    replica_ratio, replica_ratio_uncertainty
        Median over the object of pseudo-replica SNR over ``snr``, and its sampling error.
    replicas
        Number of pseudo-replicas.
    unwhitened_ratio
        Median over the object of the SNR without whitening over that with.
    background_ratio
        Noise deviation in the image's corners over that predicted from the noise scan: 1 when the noise scan
        was taken with the same bandwidth and gain, NaN when the object fills the image.
    noise
        What the noise scan said.
    notes
        What had to be assumed.
    """

    name: str
    snr: SnrMap
    maximum: float
    median: Snr
    object_voxels: int
    bandwidth_ratio: float
    mean_correlation: float
    largest_correlation: float
    replica_ratio: float
    replica_ratio_uncertainty: float
    replicas: int
    unwhitened_ratio: float
    background_ratio: float
    noise: NoiseModel
    notes: tuple[str, ...]


def reconstruct_file(path: str | Path) -> Reconstruction:
    """Reconstruct a scan from a file: MRD HDF5, ``.npz`` with noise, or a ``.mat`` pair.

    Raises
    ------
    BenchFileError
        The file is missing or of no supported kind.
    MeasurementError
        It holds no data that can be reconstructed.
    """
    return reconstruct_dataset(read_file(path))


def reconstruct_dataset(dataset: Dataset) -> Reconstruction:
    """Reconstruct a scan: whiten if there is noise, weight, transform, combine.

    Parameters
    ----------
    dataset
        Cartesian or not, with or without noise.

    Raises
    ------
    MeasurementError
        A channel of the noise scan is dead.
    """
    noise, samples = whiten(dataset)
    images, gain, density = _channel_images(dataset, samples)
    notes = list(dataset.notes)
    if noise is None:
        notes.append("no noise scan: channels are not whitened and the image has no SNR scale")
    if dataset.channels == 1:
        image = np.abs(images[0]) / np.float32(gain if noise is not None else 1)
    elif noise is None:
        image = combine_squares(images, correct_bias=False)
    else:
        image = snr_units(images, low_resolution_sensitivities(images), gain)
    return Reconstruction(
        name=dataset.name,
        image=image.astype(np.float32),
        grid=dataset.grid,
        channels=dataset.channels,
        in_snr_units=noise is not None,
        channel_images=images,
        noise_gain=gain,
        density=density,
        noise=noise,
        notes=tuple(notes),
    )


def snr_report(path: str | Path, *, replicas: int | None = None, seed: int = 0) -> SnrReport:
    """Measure the SNR of a scan that comes with a noise scan.

    Parameters
    ----------
    path
        MRD HDF5 or ``.npz`` with noise.
    replicas
        Pseudo-replicas to check the formula with; None: 200 for Cartesian scans; 50 for others,
        made of few noise scans (``recon.probes``).
    seed
        Of their noise.

    Raises
    ------
    BenchFileError
        The file is missing or of no supported kind.
    MeasurementError
        There is no noise scan in it.
    """
    return snr_of_dataset(read_file(path), replicas=replicas, seed=seed)


def snr_of_dataset(dataset: Dataset, *, replicas: int | None = None, seed: int = 0) -> SnrReport:
    """Measure the SNR of a dataset with noise; see ``snr_report``.

    Raises
    ------
    MeasurementError
        There is no noise scan in it.
    """
    noise, samples = whiten(dataset)
    if noise is None:
        raise MeasurementError(
            f"{dataset.name} holds no noise scan: SNR units need one (acquisitions flagged as noise)"
        )
    images, gain, _ = _channel_images(dataset, samples)
    snr = snr_of_noise_scan(images, gain, noise)
    inside = snr.values > OBJECT_THRESHOLD * snr.values.max()
    fraction = _independent_fraction(dataset)
    count = replicas or (_REPLICAS if dataset.trajectory is None else REPLICAS)
    replica = _replica_snr(dataset, samples, images, count, seed)
    # Both have the same signal: only the noise estimates differ, that of the replicas voxel by voxel.
    ratio = float(np.median(replica.values[inside] / snr.values[inside]))
    return SnrReport(
        name=dataset.name,
        snr=snr,
        maximum=float(snr.values.max()),
        median=snr.median(inside, independent_fraction=fraction),
        object_voxels=int(inside.sum()),
        bandwidth_ratio=noise.mean_bandwidth_ratio,
        mean_correlation=noise.mean_correlation,
        largest_correlation=noise.largest_correlation,
        replica_ratio=ratio * median_deviation_correction(replica.degrees_of_freedom),
        replica_ratio_uncertainty=_MEDIAN
        * replica.relative_uncertainty
        / float(np.sqrt(max(1.0, fraction * int(inside.sum())))),
        replicas=count,
        unwhitened_ratio=_unwhitened_ratio(images, noise, dataset.dwell_time, inside),
        background_ratio=_background_ratio(images, gain, snr.values),
        noise=noise,
        notes=dataset.notes,
    )


def whiten(dataset: Dataset) -> tuple[NoiseModel | None, NDArray[np.complex64]]:
    """Return what the noise scan says and the whitened samples; None and the samples as they are without one.

    Raises
    ------
    MeasurementError
        A channel of the noise scan is dead.
    """
    if dataset.noise is None:
        return None, dataset.samples
    model = noise_model(dataset.noise, dataset.noise_dwell_time)
    return model, apply_channels(model.whitening(dataset.dwell_time), dataset.samples)


def _channel_images(
    dataset: Dataset, samples: NDArray[np.complex64]
) -> tuple[NDArray[np.complex64], float, str]:
    """Return channel images, their noise gain for whitened samples, and how the density was found."""
    if dataset.trajectory is None:
        return _inverse_fft(samples), 1.0, "none"
    weights, density = density_of(dataset, dataset.trajectory)
    transform = NonUniformTransform(dataset.grid, dataset.trajectory)
    images = transform.adjoint(samples * weights.astype(np.float32))
    return images, float(np.sqrt(np.sum(weights**2))), density


def _inverse_fft(samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return the unitary transform of Cartesian k-space, shape (channel, z, y, x)."""
    centred = scipy.fft.ifftshift(samples, axes=(1, 2, 3))
    transformed = scipy.fft.ifftn(centred, axes=(1, 2, 3), norm="ortho")
    return np.asarray(scipy.fft.fftshift(transformed, axes=(1, 2, 3)), dtype=np.complex64)


def density_of(dataset: Dataset, trajectory: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return weights and how they came: analytic for centre-out spokes of many directions, else iterated."""
    radii = np.linalg.norm(trajectory, axis=-1)
    spokes = trajectory.shape[0]
    if spokes > _MANY_SPOKES and np.all(radii[:, 0] <= _CENTRE * radii[:, -1]):
        return spoke_weights(radii) / spokes, "analytic"
    return iterate_weights(dataset.grid, trajectory), "iterated"


def _replica_snr(
    dataset: Dataset,
    samples: NDArray[np.complex64],
    images: NDArray[np.complex64],
    replicas: int,
    seed: int,
) -> SnrMap:
    """Return the pseudo-replica SNR of the root of the sum of squares, to first order in the noise.

    That is the combination of channels by the image itself. The root's own deviation falls below it at low
    SNR, by (2 n - 1) / 4 SNR² for n channels, which would hide an error of scale.
    """
    norm = combine_squares(images, correct_bias=False)
    matched = images.conj() / np.where(norm > 0, norm, 1)

    def combined(noisy: NDArray[np.complex64]) -> NDArray[np.complex64]:
        return np.asarray(np.einsum("c...,c...->...", matched, noisy), dtype=np.complex64)

    if dataset.trajectory is None:
        return snr_of_pseudo_replicas(
            lambda noisy: combined(_inverse_fft(noisy)), samples, replicas=replicas, seed=seed
        )
    weights = density_of(dataset, dataset.trajectory)[0]
    transform = NonUniformTransform(dataset.grid, dataset.trajectory)
    found = probe_noise(transform, weights, len(images), combined, replicas=replicas, seed=seed)
    return found.snr(norm)


def _independent_fraction(dataset: Dataset) -> float:
    """Return independent voxels over voxels: all of a Cartesian image.

    A ball in k-space holds pi/6 of the cube's voxels; fewer still if the weights are uneven, so one in
    four is taken as independent.
    """
    return 1.0 if dataset.trajectory is None else 0.25


def _unwhitened_ratio(
    images: NDArray[np.complex64], noise: NoiseModel, dwell_time: float, inside: NDArray[np.bool_]
) -> float:
    """Return the median SNR loss of a plain root-sum-of-squares of unwhitened channels.

    Its noise for a voxel a is a^H Psi a / 2 |a|², to first order in the noise.
    """
    covariance = noise.image_covariance(dwell_time)
    voxels = images[:, inside].astype(np.complex128)
    plain = np.linalg.solve(noise.whitening(dwell_time), voxels)
    power = np.sum(np.abs(plain) ** 2, axis=0)
    spread = np.einsum("cv,cd,dv->v", plain.conj(), covariance, plain).real / 2
    whitened = np.sqrt(np.sum(np.abs(voxels) ** 2, axis=0))
    gainless = power / np.sqrt(spread)
    return float(np.median(gainless / whitened))


def _background_ratio(images: NDArray[np.complex64], gain: float, snr: NDArray[np.float32]) -> float:
    """Return the noise of whitened images in the corners over its prediction, NaN if there is none."""
    corner = np.ones(snr.shape, dtype=np.bool_)
    for axis, count in enumerate(snr.shape):
        if count > 1:
            edge = np.zeros(count, dtype=np.bool_)
            edge[: max(1, count // 12)] = True
            edge[-max(1, count // 12) :] = True
            corner &= edge.reshape([-1 if other == axis else 1 for other in range(3)])
    if np.median(snr[corner]) > 0.1 * snr.max():
        return float("nan")
    values = images[:, corner] / gain
    return float(np.sqrt(np.mean(np.abs(values) ** 2) / 2))
