"""What a measured S-matrix must keep: agreement between sweeps, reciprocity, passivity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.verdict import Judged, Verdict, judge
from coils.assembly.waves import to_terminated_waves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.assembly.stitch import Assembly

#: Root mean square deviation over the noise that still passes: the same 3 standard deviations at which a
#: single connection becomes suspicious (coils.assembly.cables).
_COVERAGE: Final = 3.0


def reciprocity_error(s: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the root mean square over frequency of |S_ij - S_ji|, shape (port, port); nan where unknown."""
    return np.asarray(np.sqrt(np.mean(np.abs(s - np.swapaxes(s, -1, -2)) ** 2, axis=0)), dtype=np.float64)


def largest_gain(s: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the largest singular value of S at each frequency, shape (frequency,); above 1 it amplifies.

    Raises
    ------
    ValueError
        Entries are missing: of an incomplete matrix nothing can be said.
    """
    if not np.isfinite(s).all():
        raise ValueError("an incomplete S-matrix may be passive or not; measure what is missing")
    return np.asarray(np.linalg.norm(s, ord=2, axis=(-2, -1)), dtype=np.float64)


def judge_assembly(
    assembly: Assembly, noise: float, *, systematic: float = 0.0, reciprocal: bool = True
) -> tuple[Judged, ...]:
    """Judge an assembled matrix as a whole.

    Parameters
    ----------
    assembly
        What was assembled.
    noise
        Standard deviation of a complex S-parameter between connections.
    systematic
        Expanded uncertainty of the calibration that all connections share: a gain above 1 by no more than
        twice this is inconclusive (a wrong reference impedance changes S by u (S S - 1)).
    reciprocal
        Whether the device must be reciprocal: coils are, preamplifiers are not.

    Returns
    -------
    Missing pairs, suspicious connections, repeatability of the reflections, reciprocity and passivity; what
    cannot be judged for missing entries is inconclusive.
    """
    rows = [
        judge("pairs not measured", float(len(assembly.missing)), "", at_most=0.0),
        judge("connections that disagree", float(len(assembly.suspicions)), "", at_most=0.0),
        _at_most("reflection between connections", assembly.spread, _COVERAGE * noise),
    ]
    if reciprocal:
        # the difference of two entries, each with its noise
        limit = _COVERAGE * np.sqrt(2.0) * noise
        rows.append(_at_most("|Sij - Sji|", reciprocity_error(assembly.s), limit))
    if assembly.missing:
        rows.append(_unknown("largest gain", "≤ 1"))
    else:
        # the largest singular value of an n x n matrix of noise is 2 √n standard deviations
        margin = 2.0 * np.sqrt(assembly.s.shape[-1]) * noise
        gain = float(largest_gain(assembly.s).max())
        rows.append(_judge_gain(gain, 1.0 + margin, 2.0 * systematic))
    return tuple(rows)


def _judge_gain(gain: float, limit: float, allowed: float) -> Judged:
    """Pass what is passive as measured; what only a wrong calibration could make active is inconclusive."""
    plain = judge("largest gain", gain, "", at_most=limit)
    if plain.verdict is Verdict.FAIL and gain <= limit + allowed:
        return judge("largest gain", gain, "", uncertainty=allowed, at_most=limit)
    return plain


def _at_most(name: str, values: NDArray[np.float64], limit: float) -> Judged:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return _unknown(name, f"≤ {limit:.2g}")
    return judge(name, float(known.max()), "", at_most=float(limit))


def _unknown(name: str, limit: str) -> Judged:
    return Judged(name, float("nan"), "", None, limit, Verdict.INCONCLUSIVE)


def indistinguishable_ports(assembly: Assembly, noise: float) -> tuple[tuple[int, int], ...]:
    """Return pairs of ports, counted from 1, between which a wrong cable would not have been noticed.

    Their reflections differ by less than 3 standard deviations of a comparison, or one of them was seen by
    fewer than two sweeps.
    """
    waves = to_terminated_waves(assembly.filled, assembly.loads)
    own = np.diagonal(waves, axis1=-2, axis2=-1)
    distance = np.sqrt(np.mean(np.abs(own[:, :, None] - own[:, None, :]) ** 2, axis=0))
    seen = np.diag(assembly.count) > 1
    told_apart = (distance > _COVERAGE * np.sqrt(2.0) * noise) & seen[:, None] & seen[None, :]
    pairs = np.argwhere(np.triu(~told_apart, 1))
    return tuple((int(one) + 1, int(other) + 1) for one, other in pairs)
