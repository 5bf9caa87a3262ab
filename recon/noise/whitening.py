"""Whitening: unit noise of the real part in every channel, no correlation between channels.

The whitening of a complex covariance is not that of its conjugate. Programs that take the eigenvectors of
``np.cov`` for samples in rows mix the two up and leave correlations behind whenever these are complex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.linalg

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Smallest part of a channel's noise amplitude that no other channel explains: below it two channels carry
#: one signal. Six times the rounding of float32 sums in a correlation, under the root.
_SMALLEST_OWN_NOISE: Final = 1.5e-3


def whitening_matrix(covariance: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return W with W Psi W^H = 2: unit standard deviation of the real part, no correlation.

    Parameters
    ----------
    covariance
        Psi, Hermitian, shape (channel, channel).

    Raises
    ------
    MeasurementError
        The covariance is not positive definite; the text names the channels.
    """
    dead = dead_channels(covariance)
    if dead:
        names = ", ".join(map(str, dead))
        raise MeasurementError(
            f"channel {names} shows no noise at all: check that it is connected and powered"
        )
    scale = np.sqrt(np.real(np.diagonal(covariance)))
    correlation = covariance / np.outer(scale, scale)
    try:
        lower = np.asarray(scipy.linalg.cholesky(correlation, lower=True))
    except np.linalg.LinAlgError:
        lower = np.zeros(correlation.shape)
    if float(np.min(np.abs(np.diagonal(lower)))) < _SMALLEST_OWN_NOISE:
        raise MeasurementError(_explain_singular(correlation))
    inverse = scipy.linalg.solve_triangular(lower, np.diag(np.sqrt(2) / scale), lower=True)
    return np.asarray(inverse, dtype=np.complex128)


def apply_channels(matrix: NDArray[np.complex128], samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return ``matrix`` applied along the first axis of ``samples``, shape (channel, ...), complex64."""
    flat = samples.reshape(samples.shape[0], -1)
    mixed: NDArray[np.complex64] = matrix.astype(np.complex64) @ flat
    return mixed.reshape(matrix.shape[0], *samples.shape[1:])


def dead_channels(covariance: NDArray[np.complex128]) -> tuple[int, ...]:
    """Return the channels without any noise power, counted from 1."""
    power = np.real(np.diagonal(covariance))
    return tuple(int(index) + 1 for index in np.flatnonzero(~(power > 0)))


def _explain_singular(correlation: NDArray[np.complex128]) -> str:
    """Say which two channels are alike, or that there are fewer samples than channels."""
    alike = np.abs(np.triu(correlation, 1))
    first, second = (int(index) + 1 for index in np.unravel_index(np.argmax(alike), alike.shape))
    if alike.max() > 1 - _SMALLEST_OWN_NOISE:
        return (
            f"the noise covariance is singular: channel {first} and {second}: two channels carry the same "
            "signal; check the cabling and the receivers' inputs"
        )
    return (
        "the noise covariance is singular: some channels are a mixture of others, or the noise scan has "
        f"fewer samples than the {len(correlation)} channels"
    )
