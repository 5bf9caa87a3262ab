"""Noise at the receivers, predicted from a measured S-matrix, and its comparison with what they received.

True for a passive network at one temperature behind preamplifiers whose noise waves travel inwards only: the
waves that the preamplifiers and terminations send back into the array are neglected (they matter for
preamplifiers of low input impedance, not at ports terminated in their reference impedance).

Bosma, Philips Res. Repts. Suppl. 10 (1967): the outgoing noise waves of a passive network in equilibrium have
the covariance ``k T B (I - S Sᴴ)``; each receiver of noise factor F adds ``k T0 (F - 1) B`` with T0 = 290 K
(IEEE definition of the standard noise temperature). Covariances are E[n nᴴ] of complex noise: a diagonal term
is twice the variance of the real part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: J/K, exact in the SI since 2019.
BOLTZMANN: Final = 1.380649e-23
#: K, standard noise temperature (IEEE Std 161).
STANDARD_TEMPERATURE: Final = 290.0
_GAIN_ITERATIONS: Final = 20


def noise_covariance(
    s: NDArray[np.complex128],
    *,
    bandwidth: float,
    temperature: float,
    noise_figure_db: ArrayLike = 0.0,
    ports: Sequence[int] | None = None,
) -> NDArray[np.complex128]:
    """Predict the covariance of the noise waves that reach the receivers.

    Parameters
    ----------
    s
        S-matrix of all ports, shape (..., port, port), every port terminated as it was measured.
    bandwidth
        Equivalent noise bandwidth in Hz.
    temperature
        Of coils and sample in K.
    noise_figure_db
        Of each receiver, scalar or shape (receiver,).
    ports
        Ports (counted from 1) that feed receivers, in the receivers' order; None: all.

    Returns
    -------
    Shape (..., receiver, receiver) in W; Hermitian.

    Raises
    ------
    MeasurementError
        S has gain (a singular value clearly above 1): then it is not a passive array.
    ValueError
        S is not square.
    """
    matrix = _square(s)
    largest = float(np.max(np.linalg.norm(matrix, ord=2, axis=(-2, -1))))
    if largest > 1.02:
        raise MeasurementError(
            f"the S-matrix has gain (largest singular value {largest:.3f}): check the calibration"
        )
    identity = np.eye(matrix.shape[-1])
    thermal = BOLTZMANN * temperature * bandwidth * (identity - matrix @ matrix.conj().swapaxes(-1, -2))
    if ports is not None:
        index = np.asarray(ports, dtype=np.intp) - 1
        thermal = thermal[..., index[:, None], index[None, :]]
    count = thermal.shape[-1]
    excess = 10.0 ** (np.broadcast_to(np.asarray(noise_figure_db, dtype=np.float64), count) / 10.0) - 1.0
    added = np.diag(BOLTZMANN * STANDARD_TEMPERATURE * bandwidth * excess)
    return np.asarray(thermal + added, dtype=np.complex128)


def correlation(covariance: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the correlation matrix of a covariance of shape (..., channel, channel); ones on the diagonal.

    Raises
    ------
    ValueError
        A channel has no noise.
    """
    matrix = _square(covariance)
    power = np.diagonal(matrix, axis1=-2, axis2=-1).real
    if np.any(power <= 0.0):
        dead = [int(channel) + 1 for channel in np.flatnonzero(np.ravel(power <= 0.0))]
        raise ValueError(f"no noise power in channel {dead}: is its receiver connected?")
    deviation = np.sqrt(power)
    return np.asarray(matrix / (deviation[..., :, None] * deviation[..., None, :]), dtype=np.complex128)


def power_uncertainty(samples: float) -> float:
    """Return the relative standard uncertainty of a noise power from so many independent samples."""
    return float(1.0 / np.sqrt(samples))


def correlation_uncertainty(rho: NDArray[np.complex128], samples: float) -> NDArray[np.float64]:
    """Return the standard uncertainty of |ρ̂ - ρ| of an estimated complex correlation.

    Parameters
    ----------
    rho
        True (or predicted) correlation, any shape.
    samples
        Independent complex samples; for coloured noise N / Σ|r_k|² with its autocorrelation r.

    Notes
    -----
    Asymptotic: variance (1-|ρ|²)²/2N along ρ and (1-|ρ|²)/2N across it (Carter, Proc. IEEE 75:236 (1987)).
    """
    rest = 1.0 - np.abs(rho) ** 2
    return np.asarray(np.sqrt((rest**2 + rest) / (2.0 * samples)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class CovarianceComparison:
    """How far a measured covariance is from a predicted one, in units of its sampling error.

    Parameters
    ----------
    chi_square, degrees_of_freedom
        Of the whitened difference; chi_square is near degrees_of_freedom when both agree.
    probability
        Of a chi_square at least this large by chance.
    deviation
        (measured - predicted) / sqrt(predicted_ii predicted_jj / N), complex, shape (channel, channel): its
        mean square modulus is 1 when both agree.
    power_ratio
        Measured over predicted noise power of each channel, before any gain was fitted.
    gain
        Voltage gain of each channel that was divided out; ones when the receivers' gains are taken as known.
    """

    chi_square: float
    degrees_of_freedom: int
    probability: float
    deviation: NDArray[np.complex128]
    power_ratio: NDArray[np.float64]
    gain: NDArray[np.float64]

    @property
    def worst_deviation(self) -> float:
        """Largest modulus of the normalised deviation."""
        return float(np.max(np.abs(self.deviation)))

    def agrees(self, significance: float = 1e-3) -> bool:
        """Return whether chance alone explains the difference at this significance."""
        return self.probability >= significance


def compare_covariance(
    measured: NDArray[np.complex128],
    predicted: NDArray[np.complex128],
    samples: float,
    *,
    gains_known: bool = True,
) -> CovarianceComparison:
    """Compare a sample covariance with a predicted one.

    With ``predicted = L Lᴴ`` and N independent complex samples, ``W = L⁻¹ measured L⁻ᴴ`` is Wishart: N ‖W -
    I‖² is chi-square with n² degrees of freedom for large N. Where the gains are unknown one real gain per
    channel is fitted first, which takes n degrees.

    Parameters
    ----------
    measured
        (1/N) X Xᴴ, shape (channel, channel).
    predicted
        Same shape and units (any unit when ``gains_known`` is False).
    samples
        Independent complex samples N, at least ten per channel.
    gains_known
        False compares the pattern of correlations only.

    Raises
    ------
    ValueError
        Shapes differ, too few samples, or ``predicted`` is not positive definite.
    """
    from scipy.stats import chi2

    found, expected = _square(measured), _square(predicted)
    count = found.shape[-1]
    if found.shape != expected.shape or found.ndim != 2:
        raise ValueError(f"covariances of shape {found.shape} and {expected.shape} cannot be compared")
    if samples < 10 * count:
        raise ValueError(
            f"{samples:.0f} samples are too few for {count} channels; take at least {10 * count}"
        )
    try:
        root = np.linalg.cholesky(expected)
    except np.linalg.LinAlgError:
        raise ValueError("the predicted covariance is not positive definite") from None
    inverse = np.asarray(np.linalg.inv(root), dtype=np.complex128)
    ratio = np.diagonal(found).real / np.diagonal(expected).real
    gain = np.ones(count)
    if not gains_known:
        gain = _fit_gains(found, inverse, np.sqrt(ratio))
    scaled = found / np.outer(gain, gain)
    whitened = inverse @ scaled @ inverse.conj().T
    statistic = float(samples * np.linalg.norm(whitened - np.eye(count)) ** 2)
    freedom = count**2 - (0 if gains_known else count)
    power = np.diagonal(expected).real
    deviation = (scaled - expected) / np.sqrt(np.outer(power, power) / samples)
    return CovarianceComparison(
        chi_square=statistic,
        degrees_of_freedom=freedom,
        probability=float(chi2.sf(statistic, freedom)) if freedom else 1.0,
        deviation=np.asarray(deviation, dtype=np.complex128),
        power_ratio=np.asarray(ratio, dtype=np.float64),
        gain=gain,
    )


def snr_factor(
    s: NDArray[np.complex128],
    noise_figure_db: ArrayLike,
    *,
    temperature: float = 295.0,
) -> NDArray[np.float64]:
    """Predict each port's SNR from S alone, relative to the same port perfectly matched and isolated.

    Of a wave sent into port i the part ``p_i = 1 - Σ_j |S_ij|²`` is dissipated in the array and its sample.
    By reciprocity the signal power that reaches the receiver from a given spin is proportional to the same
    p_i, and so is the array's own noise, ``k T p_i``; the preamplifier adds ``k T0 (F-1)`` whatever the
    tuning. Hence ``SNR_i ∝ sqrt(p_i / (p_i + x))`` with ``x = (F-1) T0/T``, here divided by its value at p_i
    = 1.

    Assumed: the currents keep their pattern while they change in size (the parts lost in sample and copper
    stay the same), preamplifiers noise-matched at the port's reference impedance, noise sent back by the
    other receivers neglected. So it describes a detuned channel, not a changed load.

    Parameters
    ----------
    s
        Shape (..., port, port).
    noise_figure_db
        Scalar or shape (port,). At 0 dB tuning does not matter for SNR, and all factors are 1.
    temperature
        Of the array in K.

    Returns
    -------
    Shape (..., port), between 0 and 1.
    """
    matrix = _square(s)
    part = np.clip(1.0 - np.sum(np.abs(matrix) ** 2, axis=-1), 0.0, 1.0)
    excess = 10.0 ** (np.asarray(noise_figure_db, dtype=np.float64) / 10.0) - 1.0
    x = np.broadcast_to(excess * STANDARD_TEMPERATURE / temperature, part.shape)
    total = part + x
    ratio = np.divide(part * (1.0 + x), total, out=np.zeros_like(part), where=total > 0.0)
    return np.asarray(np.sqrt(ratio), dtype=np.float64)


def _square(matrix: NDArray[np.complex128]) -> NDArray[np.complex128]:
    array = np.asarray(matrix, dtype=np.complex128)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"expected a square matrix of shape (..., port, port); got {array.shape}")
    return array


def _fit_gains(
    found: NDArray[np.complex128], inverse: NDArray[np.complex128], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the real gains that bring the whitened covariance closest to the identity (Gauss-Newton)."""
    gain = start.copy()
    count = gain.size
    for _ in range(_GAIN_ITERATIONS):
        scaled = found / np.outer(gain, gain)
        misfit = inverse @ scaled @ inverse.conj().T - np.eye(count)
        columns = np.empty((count * count, count), dtype=np.complex128)
        for channel in range(count):
            change = np.zeros_like(scaled)
            change[channel, :] -= scaled[channel, :]
            change[:, channel] -= scaled[:, channel]
            columns[:, channel] = (inverse @ change @ inverse.conj().T).ravel()
        normal = (columns.conj().T @ columns).real
        step = np.linalg.solve(normal, -(columns.conj().T @ misfit.ravel()).real)
        gain = gain * np.exp(np.clip(step, -0.5, 0.5))
        if float(np.max(np.abs(step))) < 1e-12:
            break
    return np.asarray(gain, dtype=np.float64)
