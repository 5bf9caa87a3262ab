"""Counter-wound inductors for loops that share no conductor, such as next-nearest neighbours.

A small winding in series with each of the two loops, wound against each other, adds ∓M_w to their mutual
inductance. Being inductive it cancels at all frequencies, so at both nuclei of a dual-tuned array; its price
is inductance and loss in both loops, and through the larger self-inductance it weakens all their other
couplings a little. Used so between next-nearest neighbours of an eight-channel 23Na/1H head array at 3 T,
where their coupling at the lower frequency was what was left (Lakshmanan et al., NMR Biomed 31:e3867 (2018)).

Windings of different pairs are taken as not coupling to each other: mount them at right angles or apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.decoupling.shared_conductor import INDUCTOR_Q

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: Largest coupling, no unit, that two interleaved air-core windings of a few turns are trusted to reach: an
#: assumption on the safe side.
LARGEST_COUPLING: Final = 0.8


@dataclass(frozen=True, slots=True)
class Winding:
    """The two equal windings of one pair.

    Parameters
    ----------
    pair
        Loops from 1.
    inductance
        Of each winding, H.
    coupling
        Between them, 0 to 1.
    opposed
        True where they are wound against each other (the loops' M is positive), False where alike.
    """

    pair: tuple[int, int]
    inductance: float
    coupling: float
    opposed: bool

    @property
    def mutual(self) -> float:
        """What it adds to the loops' mutual inductance, in H, signed."""
        return -self.coupling * self.inductance if self.opposed else self.coupling * self.inductance

    def __str__(self) -> str:
        """Return it as an instruction."""
        sense = "against each other" if self.opposed else "in the same sense"
        return (
            f"loops {self.pair[0]}-{self.pair[1]}: two windings of {self.inductance * 1e9:.1f} nH, {sense}, "
            f"coupling {self.coupling:.2f}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class WindingOutcome:
    """The whole array with all windings in place, at one frequency.

    Parameters
    ----------
    frequency
        Hz.
    inductance
        Matrix in H, shape (loop, loop).
    resistance
        Matrix in ohm, shape (loop, loop), the windings' loss on its diagonal.
    k_before, k_after
        Coupling coefficients, shape (loop, loop), zeros on the diagonal.
    kq_before, kq_after
        Mutual reactance over √(R_i R_j), zeros on the diagonal.
    snr_factor
        √(R / (R + added)) of each loop, shape (loop,).
    """

    frequency: float
    inductance: NDArray[np.float64]
    resistance: NDArray[np.float64]
    k_before: NDArray[np.float64]
    k_after: NDArray[np.float64]
    kq_before: NDArray[np.float64]
    kq_after: NDArray[np.float64]
    snr_factor: NDArray[np.float64]


def wind_for(
    inductance: NDArray[np.float64],
    pairs: Sequence[tuple[int, int]],
    *,
    coupling: float | None = None,
    winding: float | None = None,
) -> tuple[Winding, ...]:
    """Return the windings that cancel the mutual inductances of some pairs.

    Parameters
    ----------
    inductance
        Matrix in H for currents in the same sense, shape (loop, loop).
    pairs
        Loops from 1.
    coupling
        What the windings can be coupled to each other; their inductance follows.
    winding
        Or: inductance of each winding in H; the coupling follows. Exactly one of both.

    Raises
    ------
    ValueError
        Neither or both are given, a loop does not exist, or no such windings exist; the text says what would
        do.
    """
    if (coupling is None) == (winding is None):
        raise ValueError("give either the coupling or the inductance of the windings; the other follows")
    matrix = _checked(inductance)
    found = []
    for first, second in pairs:
        if first == second or not 1 <= min(first, second) <= max(first, second) <= matrix.shape[0]:
            raise ValueError(f"no pair of loops {first}-{second} in an array of {matrix.shape[0]}")
        mutual = float(matrix[first - 1, second - 1])
        part = coupling if coupling is not None else abs(mutual) / (winding or math.nan)
        if not 0.0 < part <= LARGEST_COUPLING:
            raise ValueError(
                f"loops {first}-{second}: M = {mutual * 1e9:.2f} nH needs a coupling of {part:.2f}; "
                f"up to {LARGEST_COUPLING} can be wound, with {abs(mutual) / LARGEST_COUPLING * 1e9:.2f} nH"
            )
        found.append(Winding((first, second), abs(mutual) / part, part, mutual > 0.0))
    return tuple(found)


def predict_windings(
    inductance: NDArray[np.float64],
    windings: Sequence[Winding],
    resistance: Mapping[float, NDArray[np.float64]],
    *,
    inductor_q: float = INDUCTOR_Q,
) -> tuple[WindingOutcome, ...]:
    """Predict what windings do to the whole array at each frequency.

    Parameters
    ----------
    inductance
        Of the array without them, H, shape (loop, loop).
    windings
        In place; as many as wanted on each loop.
    resistance
        For each frequency in Hz the loops' resistance matrix in ohm, shape (loop, loop), or only its
        diagonal, shape (loop,).
    inductor_q
        Of the windings, at all frequencies.

    Returns
    -------
    In the order of ``resistance``.
    """
    before = _checked(inductance)
    after = before.copy()
    added = np.zeros(before.shape[0])
    for one in windings:
        a, b = one.pair[0] - 1, one.pair[1] - 1
        after[a, b] += one.mutual
        after[b, a] += one.mutual
        for loop in (a, b):
            after[loop, loop] += one.inductance
            added[loop] += one.inductance
    outcomes = []
    for frequency, given in resistance.items():
        omega = 2.0 * math.pi * frequency
        r = np.asarray(given, dtype=np.float64)
        lossless = np.diag(r) if r.ndim == 1 else r.copy()
        lossy = lossless + np.diag(omega * added / inductor_q)
        outcomes.append(
            WindingOutcome(
                frequency=frequency,
                inductance=after.copy(),
                resistance=lossy,
                k_before=_relative(before, np.diag(before)),
                k_after=_relative(after, np.diag(after)),
                kq_before=_relative(omega * before, np.diag(lossless)),
                kq_after=_relative(omega * after, np.diag(lossy)),
                snr_factor=np.asarray(np.sqrt(np.diag(lossless) / np.diag(lossy)), dtype=np.float64),
            )
        )
    return tuple(outcomes)


def _checked(inductance: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.asarray(inductance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(f"expected a symmetric inductance matrix, shape (loop, loop); got {matrix.shape}")
    return matrix


def _relative(matrix: NDArray[np.float64], diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.sqrt(diagonal)
    ratio = matrix / (root[:, None] * root[None, :])
    return np.asarray(ratio - np.diag(np.diag(ratio)), dtype=np.float64)
