"""Move the reference planes of a measured S-matrix: port extension, and fixtures taken away or put on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def extend_ports(
    s: NDArray[np.complex128],
    frequencies: NDArray[np.float64],
    delays: Sequence[float],
    losses_db: Sequence[float] | None = None,
    loss_frequency: float = 1e9,
) -> NDArray[np.complex128]:
    """Move each reference plane outwards by a matched line, so that the line's delay and loss are taken away.

    Parameters
    ----------
    s
        Shape (frequency, port, port).
    frequencies
        Hz, shape (frequency,).
    delays
        One way, s, by port; negative moves the plane towards the analyzer.
    losses_db
        One way at ``loss_frequency``, dB, by port; grow with the square root of frequency. None: none.

    Returns
    -------
    Shape (frequency, port, port).

    Raises
    ------
    ValueError
        Not one delay (and loss) for each port.
    """
    count = s.shape[-1]
    attenuation = np.zeros(count) if losses_db is None else np.asarray(losses_db, dtype=np.float64)
    if len(delays) != count or attenuation.size != count:
        raise ValueError(
            f"{count} ports need {count} delays and losses; got {len(delays)} and {attenuation.size}"
        )
    gain = 10.0 ** (np.sqrt(frequencies / loss_frequency)[:, None] * attenuation / 20.0)
    turn = np.exp(2j * np.pi * frequencies[:, None] * np.asarray(delays, dtype=np.float64)) * gain
    return np.asarray(s * turn[:, :, None] * turn[:, None, :], dtype=np.complex128)


def embed(s: NDArray[np.complex128], fixtures: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return what is seen through a two-port on every port.

    Parameters
    ----------
    s
        Of the device, shape (frequency, port, port).
    fixtures
        Shape (port, frequency, 2, 2); port 1 of each looks to the analyzer, port 2 to the device.

    Returns
    -------
    Shape (frequency, port, port).

    Raises
    ------
    ValueError
        Shapes do not fit.
    """
    e11, e12, e21, e22 = _parts(s, fixtures)
    identity = np.eye(s.shape[-1])
    inner = np.linalg.solve(identity - s * e22[:, None, :], s * e21[:, None, :])
    inner = inner * e12[:, :, None]
    inner[:, range(s.shape[-1]), range(s.shape[-1])] += e11
    return np.asarray(inner, dtype=np.complex128)


def deembed(s: NDArray[np.complex128], fixtures: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Take a two-port away from every port: the inverse of `embed`.

    Parameters
    ----------
    s
        As measured, shape (frequency, port, port).
    fixtures
        As in `embed`.

    Returns
    -------
    Shape (frequency, port, port).

    Raises
    ------
    ValueError
        Shapes do not fit, or a fixture does not transmit.
    """
    e11, e12, e21, e22 = _parts(s, fixtures)
    if not (np.abs(e12) > 0.0).all() or not (np.abs(e21) > 0.0).all():
        raise ValueError("a fixture without transmission cannot be taken away")
    stripped = s.copy()
    stripped[:, range(s.shape[-1]), range(s.shape[-1])] -= e11
    # T = e12 (1 - S e22)⁻¹ S e21, so S = (1 + T' e22)⁻¹ T' with T' = T / (e12 e21)
    stripped = stripped / e12[:, :, None] / e21[:, None, :]
    identity = np.eye(s.shape[-1])
    return np.asarray(np.linalg.solve(identity + stripped * e22[:, None, :], stripped), dtype=np.complex128)


def _parts(s: NDArray[np.complex128], fixtures: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], ...]:
    expected = (s.shape[-1], s.shape[0], 2, 2)
    if fixtures.shape != expected:
        raise ValueError(f"expected one two-port for each port, shape {expected}; got {fixtures.shape}")
    by_frequency = np.moveaxis(fixtures, 0, 1)
    return tuple(by_frequency[:, :, row, column] for row in (0, 1) for column in (0, 1))
