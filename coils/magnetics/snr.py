"""What an array can hear, and the most that any array could.

SNR per unit: B1- of the coil over the root of its noise resistance, T/A/√ohm. With the transverse magnetic
moment m of a voxel and the noise bandwidth B, peak emf over RMS noise is 2 ω m / √(4kTB) times this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.constants import Boltzmann

from coils.magnetics.samples import wavenumber
from coils.magnetics.sphere import full_wave_factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.magnetics.samples import Sphere


def optimal_snr(
    receive: NDArray[np.complex128], covariance: NDArray[np.float64] | NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return the SNR of the best combination of channels at each point.

    Parameters
    ----------
    receive
        B1- of each loop per unit current, shape (loop, ...), T/A; or any signals, channel by channel.
    covariance
        Noise resistance matrix in ohm, or any noise covariance E[n n^H] in the scale of the signals;
        shape (loop, loop), Hermitian, positive definite.

    Returns
    -------
    √(b^H C^-1 b), shape (...).

    Raises
    ------
    ValueError
        Shapes do not fit, or the covariance is not Hermitian positive definite.

    Notes
    -----
    Roemer et al., Magn. Reson. Med. 16:192 (1990), equation 29.
    """
    signals = _signals(receive, covariance)
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            "the noise covariance is not positive definite; a channel may have no noise"
        ) from None
    white = np.linalg.solve(root, signals)
    return np.asarray(np.linalg.norm(white, axis=0).reshape(receive.shape[1:]))


def sum_of_squares_snr(
    receive: NDArray[np.complex128], covariance: NDArray[np.float64] | NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return the SNR of the root sum of squares where the signal is strong: b^H b / √(b^H C b).

    Parameters, shapes and errors are those of ``optimal_snr``; Roemer et al. (1990), equation 31.
    """
    signals = _signals(receive, covariance)
    power = np.sum(np.abs(signals) ** 2, axis=0)
    noise = np.einsum("ip,ip->p", signals.conj(), covariance @ signals).real
    snr = np.divide(power, np.sqrt(noise), out=np.zeros_like(power), where=noise > 0.0)
    return np.asarray(snr.reshape(receive.shape[1:]))


def ultimate_snr_at_centre(sphere: Sphere, frequency: float, *, full_wave: bool = True) -> float:
    """Return the most SNR per unit that any array around a sphere has at its centre, T/A/√ohm.

    Parameters
    ----------
    sphere
        Conducting.
    frequency
        Hz.
    full_wave
        Off: the quasi-static √(15 / (4 pi sigma ω² R⁵)).

    Raises
    ------
    ValueError
        The sphere does not conduct: then nothing bounds the SNR.

    Notes
    -----
    Only the rotating dipole field (l = 1, one sense) reaches the centre, so it alone decides: its B1- there
    over the root of the power that it loses. Ocali and Atalar, Magn. Reson. Med. 39:462 (1998); Lee,
    Sodickson and Lattanzi, Magn. Reson. Med. 80:2256 (2018), whose B1- has no 1/2 and whose SNR is therefore
    twice this.
    """
    if sphere.conductivity <= 0.0:
        raise ValueError("a sphere without conductivity has no noise; the ultimate SNR is infinite")
    omega = 2.0 * np.pi * frequency
    static = np.sqrt(15.0 / (4.0 * np.pi * sphere.conductivity * omega**2 * sphere.radius**5))
    if not full_wave:
        return float(static)
    # the dipole field that is 1 at the centre instead of outside: f_1 without its g_0(kR)
    z = wavenumber(frequency, sphere.conductivity, sphere.permittivity) * sphere.radius
    at_centre = abs(complex(np.sin(z) / z))
    return float(static / (np.sqrt(full_wave_factor(sphere, frequency, 1)[0, 0]) * at_centre))


def snr_of_moment(snr_per_unit: float, frequency: float, temperature: float) -> float:
    """Return the SNR in one second of sampling of a transverse magnetic moment of 1 A m².

    Parameters
    ----------
    snr_per_unit
        T/A/√ohm, as of ``optimal_snr`` or ``ultimate_snr_at_centre``.
    frequency
        Hz.
    temperature
        Of what makes the noise, K.

    Returns
    -------
    |signal| over the standard deviation of the noise's real part, 1/(A m² √s). N samples of dwell time t of
    one moment have √(N t) times this.

    Notes
    -----
    Peak emf ω m 2|B1-| per ampere by reciprocity over the RMS voltage √(4kTRB): the real part of a complex
    envelope in a band B has the mean square of the voltage in it. Hoult and Richards, J. Magn. Reson. 24:71
    (1976).
    """
    return float(2.0 * 2.0 * np.pi * frequency * snr_per_unit / np.sqrt(4.0 * Boltzmann * temperature))


def _signals(
    receive: NDArray[np.complex128], covariance: NDArray[np.float64] | NDArray[np.complex128]
) -> NDArray[np.complex128]:
    channels = len(receive)
    if covariance.shape != (channels, channels):
        raise ValueError(
            f"{channels} channels need a covariance ({channels}, {channels}), got {covariance.shape}"
        )
    if not np.allclose(
        covariance, covariance.conj().T, rtol=0.0, atol=1e-9 * float(np.abs(covariance).max())
    ):
        raise ValueError("a noise covariance must be Hermitian; this one is not")
    return receive.reshape(channels, -1)
