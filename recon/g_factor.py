"""What undersampling costs in SNR beyond the shorter scan: g, so that SNR = SNR(full) / (g sqrt(R)).

Cartesian: exact, for regular undersampling and any sensitivities. Anything else (radial, regularised,
off-resonance): by sending white noise through the two reconstructions. There R is the number of samples of
the full scan over that of the accelerated one, and the full scan is the reconstruction that is held to be
ideal: g then holds whatever else the accelerated one does to noise, such as a change of resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.snr import Convention, inverse_deviation_correction

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.snr import SnrMap

#: Smallest reciprocal condition number of an unfolding in double precision whose g has two digits.
_SOLVABLE: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class GFactorMap:
    """Noise amplification of every voxel.

    Parameters
    ----------
    values
        g, at least 1 for an optimal reconstruction; 0 where no channel sees anything. Shape (z, y, x).
    acceleration
        R, samples of the full scan over those of the accelerated one.
    relative_uncertainty
        Standard, of each voxel, from sampling; 0 where g is exact.
    degrees_of_freedom
        Of each voxel; inf where g is exact.
    method
        How it was found.
    convention
        Of the noise: always ``"real-sd"``.
    """

    values: NDArray[np.float64]
    acceleration: float
    relative_uncertainty: float
    degrees_of_freedom: float
    method: str
    convention: Convention = "real-sd"

    def snr(self, full: SnrMap) -> SnrMap:
        """Return what is left of a full scan's SNR: over g sqrt(R), 0 where nothing is seen.

        Raises
        ------
        ValueError
            The maps differ in shape.
        """
        if full.values.shape != self.values.shape:
            raise ValueError(f"an SNR map {full.values.shape} does not fit g of {self.values.shape}")
        seen = self.values > 0
        loss = np.where(seen, self.values, 1) * np.sqrt(self.acceleration)
        spread = float(np.hypot(full.relative_uncertainty, self.relative_uncertainty))
        return replace(
            full,
            values=np.where(seen, full.values / loss, 0).astype(np.float32),
            relative_uncertainty=spread,
            degrees_of_freedom=1 / (2 * spread**2) if spread > 0 else np.inf,
            method=f"{full.method}, over g and sqrt({self.acceleration:g})",
            is_shared=full.is_shared and self.relative_uncertainty == 0,
        )


def cartesian_g_factor(
    sensitivities: NDArray[np.complexfloating[Any, Any]],
    acceleration: tuple[int, int, int],
    *,
    covariance: NDArray[np.complex128] | None = None,
) -> GFactorMap:
    """Return the exact g-factor of SENSE with every R-th line along each axis.

    Parameters
    ----------
    sensitivities
        Shape (channel, z, y, x); voxels where all are 0 hold no object and fold onto nothing.
    acceleration
        Along (z, y, x); each divides the number of voxels there.
    covariance
        Psi, shape (channel, channel); None: channels are whitened.

    Raises
    ------
    ValueError
        An acceleration does not divide its axis, or shapes do not fit.
    MeasurementError
        The channels cannot tell folded voxels apart.

    Notes
    -----
    g = sqrt([(S^H Psi^-1 S)^-1]_ii [S^H Psi^-1 S]_ii) over the voxels that fold onto each other: Pruessmann
    et al., Magn Reson Med 42:952 (1999), eq 23.
    """
    shape = sensitivities.shape[1:]
    if len(shape) != 3 or any(r < 1 or n % r for r, n in zip(acceleration, shape, strict=True)):
        raise ValueError(
            f"sensitivities (channel, z, y, x) whose axes {acceleration} divides expected, got "
            f"{sensitivities.shape}"
        )
    white = sensitivities.astype(np.complex128)
    if covariance is not None:
        if covariance.shape != (len(white), len(white)):
            raise ValueError(f"{len(white)} channels do not fit a covariance {covariance.shape}")
        lower = np.linalg.cholesky(covariance)
        flat = np.linalg.solve(lower, white.reshape(len(white), -1))
        white = np.asarray(flat.reshape(white.shape), dtype=np.complex128)
    folded = _fold(white, acceleration)
    products = np.einsum("cgi,cgj->gij", folded.conj(), folded)
    power = np.einsum("gii->gi", products).real.copy()
    seen = power > 0
    # unit diagonal: voxels of unequal sensitivity are equally well posed, and empty ones drop out
    scale = 1 / np.sqrt(np.where(seen, power, 1))
    unit = products * scale[:, :, None] * scale[:, None, :]
    np.einsum("gii->gi", unit)[...] = 1.0
    values, vectors = np.linalg.eigh(unit)
    if float(values.min()) < _SOLVABLE:
        group = int(np.argmin(values.min(axis=1)))
        raise MeasurementError(
            f"{int(seen[group].sum())} voxels fold onto each other and {len(white)} channels cannot tell "
            f"them apart at acceleration {acceleration}: accelerate less, or along another axis"
        )
    inverse = np.einsum("gik,gk->gi", np.abs(vectors) ** 2, 1 / values)
    g = _unfold(np.where(seen, np.sqrt(inverse), 0.0), shape, acceleration)
    return GFactorMap(g, float(np.prod(acceleration)), 0.0, np.inf, "SENSE, exact")


def measured_g_factor(
    accelerated: Callable[[NDArray[np.complex64]], NDArray[Any]],
    accelerated_shape: tuple[int, ...],
    full: Callable[[NDArray[np.complex64]], NDArray[Any]],
    full_shape: tuple[int, ...],
    *,
    replicas: int = 100,
    seed: int = 0,
) -> GFactorMap:
    """Return the g-factor of any linear reconstruction, by white noise through it and through the full one.

    Parameters
    ----------
    accelerated, full
        From whitened samples to a complex image (z, y, x) on the same scale; linear, as cg-SENSE with a fixed
        number of iterations nearly is.
    accelerated_shape, full_shape
        Of their samples, (channel, ...), the same channels.
    replicas
        Noise scans for each, at least 2; complex noise counts twice.
    seed
        Of the noise.

    Raises
    ------
    ValueError
        Too few replicas, other channels, more samples in the accelerated scan, or images of other shapes.
    """
    if replicas < 2:
        raise ValueError(f"at least 2 replicas are needed, got {replicas}")
    count, most = int(np.prod(accelerated_shape)), int(np.prod(full_shape))
    if accelerated_shape[0] != full_shape[0] or count > most:
        raise ValueError(
            f"an accelerated scan of {accelerated_shape} (channel, ...) is no part of a full one of "
            f"{full_shape}"
        )
    generator = np.random.default_rng(seed)
    noises = [
        _noise(reconstruct, shape, replicas, generator)
        for reconstruct, shape in ((accelerated, accelerated_shape), (full, full_shape))
    ]
    return g_factor_of_noise(noises[0], noises[1], most / count, degrees_of_freedom=2 * replicas)


def g_factor_of_noise(
    accelerated: NDArray[np.float64],
    full: NDArray[np.float64],
    acceleration: float,
    *,
    degrees_of_freedom: float,
) -> GFactorMap:
    """Return the g-factor from the noise deviations of an accelerated and a full reconstruction.

    Parameters
    ----------
    accelerated, full
        Standard deviation of every voxel for white samples of unit deviation, shape (z, y, x).
    acceleration
        R.
    degrees_of_freedom
        Of each deviation in each voxel, at least 2; inf where they are exact.

    Raises
    ------
    ValueError
        The maps differ in shape.
    """
    if accelerated.shape != full.shape:
        raise ValueError(f"noise of {accelerated.shape} and {full.shape} cannot be compared")
    exact = not np.isfinite(degrees_of_freedom)
    correction = 1.0 if exact else inverse_deviation_correction(int(degrees_of_freedom))
    seen = full > 0
    ratio = np.where(seen, accelerated / np.where(seen, full, 1), 0) * correction / np.sqrt(acceleration)
    # two deviations of 1 / sqrt(2 f) each
    spread = 0.0 if exact else float(1 / np.sqrt(degrees_of_freedom))
    freedom = np.inf if exact else degrees_of_freedom / 2
    return GFactorMap(ratio, acceleration, spread, freedom, "noise with over without acceleration")


def _noise(
    reconstruct: Callable[[NDArray[np.complex64]], NDArray[Any]],
    shape: tuple[int, ...],
    replicas: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the deviation of the real part that unit white noise makes; circular, so both parts count."""
    total: NDArray[np.float64] = np.zeros(())
    for _ in range(replicas):
        parts = generator.standard_normal((2, *shape), dtype=np.float32)
        image = reconstruct((parts[0] + 1j * parts[1]).astype(np.complex64))
        total = total + np.abs(image).astype(np.float64) ** 2
    return np.asarray(np.sqrt(total / (2 * replicas)), dtype=np.float64)


def _fold(maps: NDArray[np.complex128], acceleration: tuple[int, int, int]) -> NDArray[np.complex128]:
    """Return maps as (channel, group, voxel of the group): voxels N/R apart fold onto each other."""
    rz, ry, rx = acceleration
    channels, nz, ny, nx = maps.shape
    parts = maps.reshape(channels, rz, nz // rz, ry, ny // ry, rx, nx // rx)
    return parts.transpose(0, 2, 4, 6, 1, 3, 5).reshape(channels, -1, rz * ry * rx)


def _unfold(
    groups: NDArray[np.float64], shape: tuple[int, ...], acceleration: tuple[int, int, int]
) -> NDArray[np.float64]:
    (rz, ry, rx), (nz, ny, nx) = acceleration, shape
    parts = groups.reshape(nz // rz, ny // ry, nx // rx, rz, ry, rx)
    return parts.transpose(3, 0, 4, 1, 5, 2).reshape(nz, ny, nx)
