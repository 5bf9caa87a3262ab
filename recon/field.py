"""Map of the static field from two echoes, with its noise, its range and what was unwrapped.

Frequencies in Hz; positive where spins turn faster than the oscillator, counter-clockwise in the received
signal, exp(+2 pi i f t).

True here: the phase grows linearly from echo to echo. Not modelled: a second species (fat), flow, quadrupolar
splitting, a delay between the channels that differs from echo to echo. Two echoes cannot tell f from f plus
1 / echo spacing; the map is unwrapped within connected regions and then lies around 0.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.ndimage

from coilbench.base.errors import MeasurementError
from recon.sensitivities import solid_harmonics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid

#: SNR of both echoes together from which a voxel's phase is used: the linear error formula holds within 2 %.
LEAST_SNR: Final = 5.0
#: Degree of the harmonics of a smoothed map: second order shims and what is left of third and fourth.
SMOOTH_DEGREE: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class FieldMap:
    """Off-resonance frequency of each voxel.

    Parameters
    ----------
    frequency
        Hz, 0 where not known, shape (z, y, x).
    uncertainty
        Standard deviation from the noise in Hz, infinite where not known, shape (z, y, x).
    known
        Where there was signal enough, shape (z, y, x).
    period
        1 / echo spacing in Hz: what frequencies are only known up to.
    unwrapped
        Voxels to which a multiple of the period was added.
    broken
        Pairs of neighbours that differ by more than half a period all the same: 0, or the map is wrong there.
    """

    frequency: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    known: NDArray[np.bool_]
    period: float
    unwrapped: int
    broken: int

    def filled(self) -> NDArray[np.float64]:
        """Return the frequency in Hz everywhere, elsewhere that of the nearest known voxel, (z, y, x)."""
        nearest: Any = scipy.ndimage.distance_transform_edt(
            ~self.known, return_distances=False, return_indices=True
        )
        return np.asarray(self.frequency[tuple(nearest)], dtype=np.float64)

    def for_nucleus(self, ratio: float) -> FieldMap:
        """Return the map for another nucleus, whose gyromagnetic ratio is ``ratio`` times this one's.

        The field is the nuclei's in common: a 1H map times 0.26452 is the 23Na map, without its noise.
        """
        if not ratio > 0:
            raise ValueError(f"a ratio of gyromagnetic ratios is positive, got {ratio:g}")
        return replace(
            self,
            frequency=self.frequency * ratio,
            uncertainty=self.uncertainty * ratio,
            period=self.period * ratio,
        )


def estimate_field(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    echo_spacing: float,
    *,
    noise_gain: float,
    least_snr: float = LEAST_SNR,
) -> FieldMap:
    """Return the field map from whitened channel images of two echoes.

    Parameters
    ----------
    first, second
        Of the earlier and the later echo, shape (channel, z, y, x).
    echo_spacing
        Later minus earlier echo time in s.
    noise_gain
        Standard deviation of the real part of the noise in every channel image.
    least_snr
        SNR of a voxel from which it is known.

    Raises
    ------
    ValueError
        Shapes differ or the spacing is not positive.
    MeasurementError
        No voxel has that SNR.

    Notes
    -----
    Phase of sum over channels of conj(a1) a2: channels' phases cancel, each weighs by its signal. Its
    variance for small noise is sigma² (|a1|² + |a2|²) / |sum conj(a1) a2|²; the SNR meant here is one over
    its root.
    """
    if first.shape != second.shape or first.ndim != 4 or not echo_spacing > 0:
        raise ValueError(
            f"two stacks (channel, z, y, x) and a positive spacing expected, got {first.shape}, "
            f"{second.shape} and {echo_spacing:g} s"
        )
    product = np.einsum("c...,c...->...", first.conj().astype(np.complex128), second)
    power = np.einsum("c...,c...->...", first.conj(), first).real
    power = power + np.einsum("c...,c...->...", second.conj(), second).real
    deviation = noise_gain * np.sqrt(power) / np.maximum(np.abs(product), np.finfo(np.float64).tiny)
    known = deviation < 1 / least_snr
    if not known.any():
        raise MeasurementError(
            f"no voxel reaches an SNR of {least_snr:g} in both echoes: average more, or use 1H"
        )
    turns = np.where(known, np.angle(product) / (2 * np.pi), 0.0)
    straight = _unwrap(turns, deviation, known)
    period = 1 / echo_spacing
    return FieldMap(
        frequency=straight * period,
        uncertainty=np.where(known, deviation / (2 * np.pi), np.inf) * period,
        known=known,
        period=period,
        unwrapped=int(np.count_nonzero(np.abs(straight - turns) > 0.5)),
        broken=_jumps(straight, known),
    )


def smooth_field(field: FieldMap, grid: Grid, *, degree: int = SMOOTH_DEGREE) -> tuple[FieldMap, float]:
    """Return the map as a sum of solid harmonics, and the reduced chi-squared of that fit.

    Without sources inside the object the field obeys Laplace's equation, and noise falls by the root of the
    number of voxels per term. A chi-squared far above 1 says that it does not: then use the map itself.

    Parameters
    ----------
    field
        Of which voxels weigh by their uncertainty.
    grid
        Of the map.
    degree
        Highest degree of the harmonics: (degree + 1)² terms.

    Raises
    ------
    MeasurementError
        Fewer than three known voxels per term.
    """
    terms = (degree + 1) ** 2
    count = int(np.count_nonzero(field.known))
    if count < 3 * terms:
        raise MeasurementError(
            f"{count} known voxels for {terms} harmonics: use a lower degree or more signal"
        )
    points = grid.positions()[field.known]
    points = points - points.mean(axis=0)
    raw = solid_harmonics(points / np.abs(points).max(), degree)
    basis, _ = np.linalg.qr(raw / np.sqrt(np.mean(raw**2, axis=0)))
    weights = 1 / field.uncertainty[field.known]
    values = field.frequency[field.known]
    covariance = np.linalg.inv((basis * weights[:, None] ** 2).T @ basis)
    smooth = basis @ (covariance @ (basis.T @ (weights**2 * values)))
    deviation = np.sqrt(np.einsum("pi,ij,pj->p", basis, covariance, basis))
    chi_squared = float(np.sum(((values - smooth) * weights) ** 2) / (count - terms))
    frequency, uncertainty = np.zeros(field.known.shape), np.full(field.known.shape, np.inf)
    frequency[field.known], uncertainty[field.known] = smooth, deviation
    return replace(field, frequency=frequency, uncertainty=uncertainty), chi_squared


def _jumps(turns: NDArray[np.float64], known: NDArray[np.bool_]) -> int:
    """Return how many pairs of known neighbours differ by more than half a turn."""
    total = 0
    for axis in range(3):
        pairs = np.abs(np.diff(turns, axis=axis)) > 0.5
        lower, upper = np.delete(known, -1, axis=axis), np.delete(known, 0, axis=axis)
        total += int(np.count_nonzero(pairs & lower & upper))
    return total


def _unwrap(
    turns: NDArray[np.float64], deviation: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Remove jumps of whole turns, the surest voxels first; each connected region then lies around 0.

    Quality-guided region growing: Ghiglia, Pritt, Two-Dimensional Phase Unwrapping (Wiley 1998), chapter 4.
    """
    found: Any = scipy.ndimage.label(known)
    labels, regions = found
    straight = turns.copy()
    if _jumps(turns, known):
        for label in range(1, regions + 1):
            inside = labels == label
            if inside.any() and _jumps(turns, inside):
                _grow(straight, deviation, inside)
    middle: Any = scipy.ndimage.median(straight, labels, np.arange(1, regions + 1))
    straight -= np.concatenate([[0.0], np.rint(middle)])[labels]
    return straight


def _grow(turns: NDArray[np.float64], deviation: NDArray[np.float64], inside: NDArray[np.bool_]) -> None:
    """Unwrap one connected region in place, from its surest voxel outwards."""
    waiting = inside.copy()
    start = tuple(
        int(i) for i in np.unravel_index(np.argmin(np.where(inside, deviation, np.inf)), inside.shape)
    )
    queue: list[tuple[float, tuple[int, ...], float]] = [(0.0, start, float(turns[start]))]
    while queue:
        _, voxel, reference = heapq.heappop(queue)
        if not waiting[voxel]:
            continue
        waiting[voxel] = False
        turns[voxel] -= np.rint(turns[voxel] - reference)
        for axis in range(3):
            for step in (-1, 1):
                place = voxel[axis] + step
                neighbour = (*voxel[:axis], place, *voxel[axis + 1 :])
                if 0 <= place < inside.shape[axis] and waiting[neighbour]:
                    heapq.heappush(queue, (float(deviation[neighbour]), neighbour, float(turns[voxel])))
