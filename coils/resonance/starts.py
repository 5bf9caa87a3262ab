"""Where a fit begins: a one-pole rational function, fitted linearly behind several trial delays.

``S (1 + d x) = c0 + c1 x`` is linear in c0, c1 and d; two reweighted passes undo the factor (Sanathanan and
Koerner, IEEE Trans. Autom. Control 8:56 (1963)). A physical pole has a positive bandwidth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coils.resonance.projection import Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Trial line delays in turns of phase over the sweep.
TRIAL_TURNS: Final = (0.0, -0.75, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
#: Starts kept for each trace.
_KEPT: Final = 4


def starting_points(
    f: NDArray[np.float64], s: NDArray[np.complex128], trial_turns: tuple[float, ...]
) -> tuple[Points, NDArray[np.bool_]]:
    """Return starts of every trace, the best first.

    Parameters
    ----------
    f
        Hz, shape (point,).
    s
        Shape (trace, point).
    trial_turns
        Line delays to try, in turns of phase over the sweep.

    Returns
    -------
    Points of shape (trace, start), and which of them are physical, best first.
    """
    span = float(f[-1] - f[0])
    middle = 0.5 * float(f[0] + f[-1])
    x = 2.0 * (f - middle) / span
    turns = np.array(trial_turns)
    unwound = s[:, None, :] * np.exp(1j * np.pi * turns[:, None] * x)
    pole_term = np.zeros(unwound.shape[:2], dtype=np.complex128)
    misfit = np.zeros(unwound.shape[:2])
    rows = np.empty((*unwound.shape[:2], 3, f.size), dtype=np.complex128)
    ridge, diagonal = 1e-12 * np.eye(3), np.arange(3)
    for _ in range(3):
        weight = 1.0 / (1.0 + pole_term[..., None] * x)
        rows[..., 0, :] = weight
        rows[..., 1, :] = weight * x
        right = weight * unwound
        rows[..., 2, :] = -x * right
        adjoint = rows.conj()
        # a spike of one point weighs the others to nothing: the ridge keeps the solution finite
        gram = adjoint @ rows.swapaxes(-1, -2)
        gram[..., diagonal, diagonal] *= 1.0 + 1e-12
        gram += ridge
        solution = np.linalg.solve(gram, adjoint @ right[..., None])[..., 0]
        pole_term = np.asarray(solution[..., 2], dtype=np.complex128)
        left = right - (solution[..., None, :] @ rows)[..., 0, :]
        misfit = np.sum(left.real**2 + left.imag**2, axis=-1)
    # 1 + d x = 0 at x = -1/d; 1 + 2iQ(f - f_L)/f_L = 0 puts the pole at f_L (1 + i/2Q)
    poles = np.asarray(
        middle - 0.5 * span / np.where(np.abs(pole_term) > 1e-9, pole_term, 1e-9), dtype=np.complex128
    )
    physical = (
        (poles.imag > 0.0) & (poles.real > f[0] - span) & (poles.real < f[-1] + span) & (poles.real > 0.0)
    )
    order = np.argsort(np.where(physical, misfit, np.inf), axis=1)[:, :_KEPT]
    chosen = np.take_along_axis(poles, order, axis=1)
    good = np.take_along_axis(physical, order, axis=1)
    tidy = np.asarray(np.where(good, chosen, middle * (1.0 + 0.01j)), dtype=np.complex128)
    return Points(tidy.real, tidy.real / (2.0 * tidy.imag), turns[order]), good
