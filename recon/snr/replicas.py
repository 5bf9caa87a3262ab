"""SNR from replicas: scans repeated in truth, or synthetic noise sent through any reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recon.snr.record import SnrMap, inverse_deviation_correction

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def snr_of_replicas(replicas: NDArray[np.complexfloating[Any, Any]]) -> SnrMap:
    """Return the SNR map of repeated complex images; it has the shape of one image.

    Parameters
    ----------
    replicas
        Shape (replica, ...), at least 3.

    Raises
    ------
    ValueError
        There are fewer.

    Notes
    -----
    The deviation is that of the part in phase with the mean; the bias of 1/s is corrected. Each voxel
    scatters by 1 / sqrt(2 (replicas - 1)).
    """
    count = _enough(replicas.shape[0])
    mean = replicas.mean(axis=0)
    deviation = np.std((replicas * _turn(mean)).real, axis=0, ddof=1)
    return _map(np.abs(mean), deviation, count, "repeated scans", 1 / np.sqrt(count))


def snr_of_pseudo_replicas(
    reconstruct: Callable[[NDArray[np.complex64]], NDArray[Any]],
    samples: NDArray[np.complex64],
    *,
    replicas: int = 50,
    seed: int = 0,
) -> SnrMap:
    """Return the SNR map of any reconstruction by synthetic noise; parameters as ``pseudo_replica_noise``.

    Raises
    ------
    ValueError
        Fewer than 3 replicas.

    Notes
    -----
    Robson et al., Magn Reson Med 60:895 (2008); the bias of 1/s is corrected.
    """
    clean, deviation = _noise_about(reconstruct, samples, replicas, seed)
    return _map(np.abs(clean), deviation, replicas, "pseudo-replicas", 1.0)


def pseudo_replica_noise(
    reconstruct: Callable[[NDArray[np.complex64]], NDArray[Any]],
    samples: NDArray[np.complex64],
    *,
    replicas: int = 50,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the noise deviation of any reconstruction, by adding synthetic noise to whitened data.

    Parameters
    ----------
    reconstruct
        From whitened samples to an image, real or complex; must not change its argument. A complex
        image's deviation is that of its real part in phase with the noise-free image.
    samples
        Whitened k-space, any shape.
    replicas
        At least 3; the result scatters by 1 / sqrt(2 (replicas - 1)).
    seed
        Of the noise.

    Returns
    -------
    Standard deviation, shape of the image.

    Raises
    ------
    ValueError
        Fewer than 3 replicas.

    Notes
    -----
    Robson et al., Magn Reson Med 60:895 (2008).
    """
    return _noise_about(reconstruct, samples, replicas, seed)[1]


def _noise_about(
    reconstruct: Callable[[NDArray[np.complex64]], NDArray[Any]],
    samples: NDArray[np.complex64],
    replicas: int,
    seed: int,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the image as it is, and the deviation that synthetic noise adds to it."""
    _enough(replicas)
    generator = np.random.default_rng(seed)
    clean = reconstruct(samples)
    turn = _turn(clean)
    total, squares = np.zeros(clean.shape), np.zeros(clean.shape)
    for _ in range(replicas):
        noise = generator.standard_normal((2, *samples.shape), dtype=np.float32)
        image = reconstruct(samples + (noise[0] + 1j * noise[1]).astype(np.complex64))
        change = np.real((image - clean) * turn)
        total += change
        squares += change**2
    variance = np.maximum(squares - total**2 / replicas, 0) / (replicas - 1)
    return clean, np.sqrt(variance)


def _map(signal: NDArray[Any], deviation: NDArray[Any], count: int, method: str, scatter: float) -> SnrMap:
    ratio = np.where(deviation > 0, signal / np.where(deviation > 0, deviation, 1), 0)
    values = np.asarray(ratio * inverse_deviation_correction(count - 1), dtype=np.float32)
    spread = float(1 / np.sqrt(2 * (count - 1)))
    return SnrMap(values, spread, count - 1, f"{count} {method}", is_shared=False, scatter=float(scatter))


def _turn(image: NDArray[Any]) -> NDArray[Any]:
    """Return the phase factor that makes every voxel real and positive."""
    magnitude = np.abs(image)
    return np.where(magnitude > 0, np.conj(image) / np.where(magnitude > 0, magnitude, 1), 1)


def _enough(replicas: int) -> int:
    if replicas < 3:
        raise ValueError(f"at least 3 replicas are needed, got {replicas}")
    return replicas
