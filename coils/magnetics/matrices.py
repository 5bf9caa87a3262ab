"""The front door: from loops, conductor and sample to the matrices that a circuit solver takes.

Where the sum of losses misses something: mutual resistance through neighbours' copper is neglected, and
radiation counts only if asked for, because a scanner's bore does not let it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.constants import c, mu_0

from coils.magnetics.half_space import half_space_resistance
from coils.magnetics.inductance import inductance_matrix
from coils.magnetics.samples import Sphere
from coils.magnetics.sphere import multipoles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from coils.magnetics.conductors import Conductor
    from coils.magnetics.loops import Loop
    from coils.magnetics.samples import HalfSpace


@dataclass(frozen=True, slots=True, eq=False)
class ArrayMatrices:
    """An array of loops as a circuit sees it, and as its losses divide.

    Parameters
    ----------
    frequency
        Shape (frequency,), Hz.
    inductance
        Shape (loop, loop), H.
    conductor
        Resistance of each loop's conductor and parts, shape (frequency, loop), ohm.
    sample
        Noise resistance matrices of the sample, and of radiation if asked for, shape (frequency, loop, loop).
    """

    frequency: NDArray[np.float64]
    inductance: NDArray[np.float64]
    conductor: NDArray[np.float64]
    sample: NDArray[np.float64]

    @property
    def resistance(self) -> NDArray[np.float64]:
        """Noise resistance matrices of conductor and sample, shape (frequency, loop, loop), ohm."""
        return np.asarray(self.sample + self.conductor[:, :, None] * np.eye(len(self.inductance)))

    @property
    def impedance(self) -> NDArray[np.complex128]:
        """R + jωL, shape (frequency, loop, loop), ohm."""
        omega = 2.0 * np.pi * self.frequency[:, None, None]
        return np.asarray(self.resistance + 1j * omega * self.inductance, dtype=np.complex128)

    @property
    def q_unloaded(self) -> NDArray[np.float64]:
        """Quality factor of each loop alone without the sample, shape (frequency, loop)."""
        return np.asarray(self._reactance / self.conductor)

    @property
    def q_loaded(self) -> NDArray[np.float64]:
        """Quality factor of each loop alone with the sample, shape (frequency, loop)."""
        return np.asarray(self._reactance / np.diagonal(self.resistance, axis1=1, axis2=2))

    @property
    def _reactance(self) -> NDArray[np.float64]:
        return np.asarray(2.0 * np.pi * self.frequency[:, None] * np.diag(self.inductance))


def array_matrices(
    loops: Sequence[Loop],
    sample: Sphere | HalfSpace | None,
    frequency: ArrayLike,
    *,
    conductor: Conductor,
    parts_resistance: ArrayLike = 0.0,
    clearance: float | None = None,
    full_wave: bool = True,
    radiates: bool = False,
) -> ArrayMatrices:
    """Return inductances and noise resistances of an array around or over a sample.

    Parameters
    ----------
    loops
        The array's loops.
    sample
        None: nothing in the coil.
    frequency
        Hz, scalar or shape (frequency,).
    conductor
        Of all loops; must act like the loops' wire radius.
    parts_resistance
        Of capacitors and joints in series with each loop, ohm; broadcast to (frequency, loop).
    clearance
        Where loops cross, m; see ``mutual_inductance``.
    full_wave
        Whether waves inside the sample count; over a half-space all loops must then be parallel to it.
    radiates
        Whether the array stands in free space, as on a bench, and not in a bore.

    Raises
    ------
    ValueError
        The conductor does not fit the loops, or as for the sample's own function.
    """
    frequencies = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
    for place, loop in enumerate(loops):
        if abs(loop.wire_radius / conductor.wire_radius - 1.0) > 0.01:
            raise ValueError(
                f"loop {place} acts like a wire of {loop.wire_radius:.4g} m radius, the conductor like "
                f"one of {conductor.wire_radius:.4g} m; build the loop with the conductor's wire_radius"
            )
    inductance = inductance_matrix(loops, clearance)
    lengths = np.array([loop.length for loop in loops])
    own = conductor.resistance(frequencies)[:, None] * lengths + np.asarray(parts_resistance)
    if isinstance(sample, Sphere):
        lost = multipoles(loops, sample).resistance(frequencies, full_wave=full_wave)
    elif sample is not None:
        lost = half_space_resistance(loops, sample, frequencies, full_wave=full_wave)
    else:
        lost = np.zeros((len(frequencies), len(loops), len(loops)))
    if radiates:
        lost = lost + radiation_resistance(loops, frequencies)
    return ArrayMatrices(frequencies, inductance, np.broadcast_to(own, lost.shape[:2]).copy(), lost)


def radiation_resistance(loops: Sequence[Loop], frequency: ArrayLike) -> NDArray[np.float64]:
    """Return the radiation resistance matrices in free space in ohm, shape (frequency, loop, loop).

    Exact for currents that do not change along the loops: ω mu0/4pi times the double line integral of
    dl . dl' sin(kR)/R, the real part of the retarded Neumann integral. Counted without the sample.
    """
    frequencies = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
    k = 2.0 * np.pi * frequencies / c
    matrices = np.empty((len(frequencies), len(loops), len(loops)))
    nodes = [loop.nodes(0.5 / float(k.max())) for loop in loops]
    for i, (points, elements) in enumerate(nodes):
        for j, (others, other_elements) in enumerate(nodes[: i + 1]):
            product = elements @ other_elements.T
            r = np.linalg.norm(points[:, None, :] - others[None, :, :], axis=-1)
            for place, wave in enumerate(k):
                # sin(kR)/R less k, which closed loops do not feel
                total = float(np.sum(product * wave * (np.sinc(wave * r / np.pi) - 1.0)))
                value = wave * c * mu_0 / (4.0 * np.pi) * total
                matrices[place, i, j] = matrices[place, j, i] = value
    return matrices
