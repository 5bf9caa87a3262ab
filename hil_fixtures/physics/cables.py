"""What stands between an analyzer's display and the truth: cables after calibration, and its directivity.

True: each port's reference plane is a delay away from the port (negative: the plane lies behind it), and
each reflection shows a residual directivity of one size whose phase turns slowly with frequency. Not true:
residual source and load match, and tracking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from hil_fixtures.physics.arrays import Complex, Real

#: Longest way in s from a calibration plane to what its residual directivity comes from: connectors and
#: adapters within 15 cm.
_REACH: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Cables:
    """Residual errors of an analyzer's calibration, one of each a port.

    Parameters
    ----------
    delay
        One way, from the reference plane to the port, s, shape (port,).
    directivity
        Reflection shown with a perfect match, at zero frequency, shape (port,).
    directivity_delay
        One way, s, by which its phase turns, shape (port,).
    """

    delay: Real
    directivity: Complex
    directivity_delay: Real

    def show(self, scattering: Complex, frequencies: Real) -> Complex:
        """Return what the analyzer shows, without noise, of true S-parameters.

        Parameters
        ----------
        scattering
            Shape (frequency, port, port).
        frequencies
            Hz, shape (frequency,).
        """
        omega = 2j * np.pi * frequencies[:, None]
        turned = np.exp(-omega * self.delay)
        shown = turned[:, :, None] * scattering * turned[:, None, :]
        own = np.arange(len(self.delay))
        shown[:, own, own] += self.directivity * np.exp(-2.0 * omega * self.directivity_delay)
        return np.asarray(shown)


def drawn_cables(
    ports: int, delay: float, directivity_db: float | None, random: np.random.Generator
) -> Cables:
    """Draw the residual errors of one calibration.

    Parameters
    ----------
    delay
        Standard deviation, s.
    directivity_db
        Size at every port; None: none.
    """
    size = 0.0 if directivity_db is None else 10.0 ** (directivity_db / 20.0)
    phase = random.uniform(0.0, 2.0 * np.pi, ports)
    return Cables(
        delay * random.standard_normal(ports),
        np.asarray(size * np.exp(1j * phase), dtype=np.complex128),
        random.uniform(0.0, _REACH, ports),
    )
