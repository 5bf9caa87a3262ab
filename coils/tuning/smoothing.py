"""Measured S-parameters at complex frequencies: what a sweep would show if every resonance were wider.

A passive network's response is analytic below the real axis (convention e^{+jωt}), so its value at
``f - ih`` is the Poisson integral of the sweep: a smoothing by a Lorentzian of half width h. A model at
complex frequencies answers the same, exactly. Fitting the smoothed data first removes the local minima that
narrow resonances put between a wrong start and the truth; then h shrinks to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def smooth(
    frequencies: NDArray[np.float64],
    s: NDArray[np.complex128],
    wanted: NDArray[np.float64],
    width: float,
) -> NDArray[np.complex128]:
    """Return a band's S-parameters at ``wanted - i width``.

    Parameters
    ----------
    frequencies
        One band, Hz, shape (frequency,), rising.
    s
        Shape (frequency, ...), taken as linear between frequencies and as constant outside of the band.
    wanted
        Real parts of the new frequencies in Hz, shape (wanted,), inside the band.
    width
        Hz, above 0.

    Raises
    ------
    ValueError
        The width is not positive.
    """
    if not width > 0.0:
        raise ValueError(f"a smoothing width is above 0 Hz; got {width} Hz")
    weights = _weights(frequencies, wanted, width)
    return np.asarray(np.tensordot(weights, s, axes=(1, 0)), dtype=np.complex128)


def _weights(
    frequencies: NDArray[np.float64], wanted: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """Return the Lorentzian's integral over each frequency's hat function, shape (wanted, frequency)."""
    u = (frequencies[None, :] - wanted[:, None]) / width
    step = np.diff(u, axis=1)
    area = np.diff(np.arctan(u), axis=1) / np.pi
    moment = 0.5 * np.diff(np.log1p(u * u), axis=1) / np.pi
    # over one step the Lorentzian's share of the right end is (moment - left * area) / step
    right = (moment - u[:, :-1] * area) / step
    weights = np.zeros_like(u)
    weights[:, :-1] += area - right
    weights[:, 1:] += right
    weights[:, 0] += 0.5 + np.arctan(u[:, 0]) / np.pi
    weights[:, -1] += 0.5 - np.arctan(u[:, -1]) / np.pi
    return weights
