"""What SNR to expect of an array in the middle of its phantom, over the most that any array has there.

The sample's noise and the fields come from the drawing, the coils' own losses from Q measured with and
without the sample, and what mismatch and preamplifiers take from S. True for loops around a conducting sphere
that are small beside the wavelength in air, with own losses that do not correlate between channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from coils.magnetics.field import magnetic_field, receive_field
from coils.magnetics.samples import wavenumber
from coils.magnetics.snr import optimal_snr, ultimate_snr_at_centre
from coils.magnetics.sphere import multipoles
from coils.quality.loading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coils.magnetics.loops import Loop
    from coils.magnetics.samples import Sphere


def share_of_ultimate(
    loops: Sequence[Loop],
    sphere: Sphere,
    frequency: float,
    ratios: Sequence[Reading],
    snr_factors: Sequence[float] | None = None,
) -> Reading:
    """Return the SNR of the best combination at the sphere's centre over the ultimate one, between 0 and 1.

    Parameters
    ----------
    loops
        The array's loops around the sphere, m.
    sphere
        The phantom; its centre is the point.
    frequency
        Hz.
    ratios
        Q_U/Q_L of each loop, above 1.
    snr_factors
        SNR of each channel over that of the same channel matched and isolated, from S and the preamplifiers'
        noise figure; taken as noise that does not correlate. None: all 1. What a preamplifier adds at a
        matched port is not in it, nor what goes into ports of other nuclei: that is in the ratios if they
        were measured with these ports terminated, and else, at -12 dB of isolation, 3 % of the SNR.

    Returns
    -------
    With the expanded uncertainty that the ratios' uncertainties make; the drawing's is not in it.

    Raises
    ------
    ValueError
        The numbers of loops, ratios and factors differ, or one of them is out of range.

    Notes
    -----
    Q_U/Q_L = 1 + R_sample/R_coil gives each coil's own resistance. Inside the sphere the field that reaches
    the centre (l = 1) is z/sin z times the quasi-static one, z = kR, as in `ultimate_snr_at_centre`.
    """
    count = len(loops)
    factors = np.ones(count) if snr_factors is None else np.asarray(snr_factors, dtype=np.float64)
    values = np.array([reading.value for reading in ratios])
    if len(values) != count or factors.shape != (count,):
        raise ValueError(f"{count} loops, {len(values)} ratios and {factors.size} factors: need one each")
    if not (np.all(values > 1.0) and np.all((factors > 0.0) & (factors <= 1.0))):
        raise ValueError("ratios Q_U/Q_L are above 1, SNR factors above 0 and at most 1")
    centre = np.asarray(sphere.centre, dtype=np.float64)
    z = wavenumber(frequency, sphere.conductivity, sphere.permittivity) * sphere.radius
    receive = receive_field(magnetic_field(loops, centre[None, :])) * abs(complex(z / np.sin(z)))
    sample = multipoles(loops, sphere).resistance([frequency])[0]
    ultimate = ultimate_snr_at_centre(sphere, frequency)

    def share(of: NDArray[np.float64]) -> float:
        own = np.diag(sample) / (of - 1.0)
        covariance = sample + np.diag(own)
        covariance = covariance + np.diag((1.0 / factors**2 - 1.0) * np.diag(covariance))
        return float(optimal_snr(receive, covariance)[0] / ultimate)

    expected = share(values)
    squares = 0.0
    for place, reading in enumerate(ratios):
        if reading.uncertainty:
            lower = values.copy()
            lower[place] = max(values[place] - reading.uncertainty, 1.0 + 1e-6)
            squares += (expected - share(lower)) ** 2
    return Reading(expected, math.sqrt(squares))
