"""From the matrices of drawn loops at two frequencies to loops at any frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.coil import Loops

if TYPE_CHECKING:
    from coils.magnetics.matrices import ArrayMatrices


def loops_from_matrices(matrices: ArrayMatrices) -> Loops:
    """Return what loops drawn on a sample are to a circuit.

    Parameters
    ----------
    matrices
        From `coils.magnetics.matrices.array_matrices` at the Larmor frequencies of two nuclei. The sample's
        resistances are kept at both, waves included; conductors get the root of frequency that lies between.

    Raises
    ------
    ValueError
        There are not two different frequencies.
    """
    mega = np.unique(matrices.frequency) / 1e6
    if mega.size != 2 or matrices.frequency.size != 2:
        raise ValueError(f"expected the matrices at two frequencies, got {matrices.frequency} Hz")
    order = np.argsort(matrices.frequency)
    copper = np.exp(np.mean(np.log(matrices.conductor[order] / np.sqrt(mega)[:, None]), axis=0))
    reduced = matrices.sample[order] / mega[:, None, None] ** 2
    waves = (reduced[1] - reduced[0]) / (mega[1] ** 2 - mega[0] ** 2)
    return Loops(matrices.inductance, copper, reduced[0] - waves * mega[0] ** 2, waves)
