"""Self and mutual inductance of closed polygons in air: Neumann's integral, exact for each pair of pieces.

The softened distance sqrt(r² + a²) puts one current on the axis and the other on the surface of a wire of
radius a: the high-frequency (external) inductance. Two straight pieces have a common normal, so softening
only lengthens that normal and the closed forms of unsoftened filaments hold.

Grover, Inductance Calculations (1946), chapters 6 and 7; Dengler, arXiv:1204.1486, for the softened kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.constants import mu_0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coils.magnetics.loops import Loop

#: Sine below which two directions count as parallel: rounding costs 1e-9 of a pair there, the neglect 1e-8.
_PARALLEL: Final = 1e-7
#: m; keeps logarithms finite where two filaments meet in a point, far below any conductor's size.
_POINT: Final = 1e-12
#: Relative agreement of distances by which two pairs of loops count as congruent.
_CONGRUENT: Final = 1e-10


def self_inductance(loop: Loop) -> float:
    """Return the external (high-frequency) inductance of a loop in H.

    Good to about 1e-4 where the loop is a hundred wire radii wide; the internal inductance R/omega of the
    skin (about 0.2 % for copper at 30 MHz) comes on top.
    """
    return _neumann(loop, loop, loop.wire_radius)


def mutual_inductance(one: Loop, other: Loop, clearance: float | None = None) -> float:
    """Return the mutual inductance of two loops in H.

    Parameters
    ----------
    one, other
        Positive where a current in one sends its flux through the other in its positive sense.
    clearance
        Gap in m normal to both where they cross or lie on each other; added in quadrature to all distances.
        None: the larger wire radius if the conductors come closer than that, else 0. Two strips that lie
        on each other are then as far apart as a strip from itself, and coincident loops couple fully.

    Raises
    ------
    ValueError
        The clearance is negative, or 0 for conductors that lie on each other.
    """
    if clearance is None:
        reach = max(one.wire_radius, other.wire_radius)
        clearance = reach if distance_between(one, other) < reach else 0.0
    if clearance < 0.0:
        raise ValueError(f"the clearance between conductors cannot be negative, got {clearance} m")
    if clearance == 0.0 and distance_between(one, other) < _POINT:
        raise ValueError("the conductors touch; give the clearance in m at which one passes the other")
    return _neumann(one, other, clearance)


def inductance_matrix(loops: Sequence[Loop], clearance: float | None = None) -> NDArray[np.float64]:
    """Return the inductances of an array in H, shape (loop, loop), symmetric.

    Congruent pairs are computed once: a ring of n equal loops costs n/2 + 1 integrals.

    Parameters
    ----------
    loops
        The array's loops.
    clearance
        As for ``mutual_inductance``, the same for all pairs.

    Raises
    ------
    ValueError
        There is no loop, or as for ``mutual_inductance``.
    """
    if not loops:
        raise ValueError("an inductance matrix needs at least one loop")
    matrix = np.zeros((len(loops), len(loops)))
    known: list[tuple[bool, tuple[float, float], NDArray[np.float64], float]] = []
    for i, one in enumerate(loops):
        for j in range(i, len(loops)):
            other = loops[j]
            distances = _distances(one.path, other.path)
            radii = (one.wire_radius, other.wire_radius)
            value = next(
                (
                    value
                    for same, same_radii, same_distances, value in known
                    if same == (i == j) and same_radii == radii and _congruent(distances, same_distances)
                ),
                None,
            )
            if value is None:
                value = self_inductance(one) if i == j else mutual_inductance(one, other, clearance)
                known.append((i == j, radii, distances, value))
            matrix[i, j] = matrix[j, i] = value
    return matrix


def coupling_matrix(inductance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coupling coefficients M / sqrt(L L') of an inductance matrix, shape (loop, loop)."""
    size = np.sqrt(np.diag(inductance))
    return np.asarray(inductance / np.outer(size, size))


def distance_between(one: Loop, other: Loop) -> float:
    """Return the smallest distance in m between two conductors' axes; 0 where they cross.

    Notes
    -----
    Of two straight pieces it lies at the feet of the common normal or at an end of one of them.
    """
    starts, ends = one.path[:, None, :], (one.path + one.segments)[:, None, :]
    others, far_ends = other.path[None, :, :], (other.path + other.segments)[None, :, :]
    u, v, w = ends - starts, far_ends - others, starts - others
    uu, vv, uv = _dot(u, u), _dot(v, v), _dot(u, v)
    sine2 = uu * vv - uv**2
    skew = sine2 > _PARALLEL**2 * uu * vv
    safe = np.where(skew, sine2, 1.0)
    s = np.where(skew, (uv * _dot(v, w) - vv * _dot(u, w)) / safe, -1.0)
    t = np.where(skew, (uu * _dot(v, w) - uv * _dot(u, w)) / safe, -1.0)
    inside = (s >= 0.0) & (s <= 1.0) & (t >= 0.0) & (t <= 1.0)
    feet = np.where(inside[..., None], w + s[..., None] * u - t[..., None] * v, np.inf)
    return float(
        min(
            np.linalg.norm(feet, axis=-1).min(),
            *(_distance_to_segments(end, others, v).min() for end in (starts, ends)),
            *(_distance_to_segments(end, starts, u).min() for end in (others, far_ends)),
        )
    )


def _distance_to_segments(
    point: NDArray[np.float64], start: NDArray[np.float64], vector: NDArray[np.float64]
) -> NDArray[np.float64]:
    offset = point - start
    place = np.clip(_dot(offset, vector) / _dot(vector, vector), 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - place[..., None] * vector, axis=-1))


def _distances(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(one[:, None, :] - other[None, :, :], axis=-1))


def _congruent(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Tell whether two pairs of loops have the same distances between all corners, in either order.

    Neumann's integral depends on these distances alone.
    """
    tolerance = _CONGRUENT * float(one.max())
    return any(
        one.shape == candidate.shape and float(np.abs(one - candidate).max()) < tolerance
        for candidate in (other, other.T)
    )


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("...i,...i->...", a, b))


def _size(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(_dot(vectors, vectors))


def _neumann(one: Loop, other: Loop, softening: float) -> float:
    """Return mu0/4pi times the double integral of dl . dl' / sqrt(r² + softening²)."""
    vectors, others = one.segments, other.segments
    first = np.repeat(np.arange(len(vectors)), len(others))
    second = np.tile(np.arange(len(others)), len(vectors))
    lengths, other_lengths = _size(vectors), _size(others)
    cosines = ((vectors / lengths[:, None]) @ (others / other_lengths[:, None]).T).ravel()
    total = 0.0
    sines2 = np.maximum(1.0 - cosines**2, 0.0)
    # 1 - c² knows the sine to 1e-8 only; the cross product settles the doubtful ones
    doubtful = sines2 < 1e-6
    crossed = np.cross(vectors[first[doubtful]], others[second[doubtful]])
    sizes = lengths[first[doubtful]] * other_lengths[second[doubtful]]
    sines2[doubtful] = (_size(crossed) / sizes) ** 2
    parallel = sines2 < _PARALLEL**2
    skew = ~parallel & (np.abs(cosines) > _POINT)
    for chosen, integral in ((parallel, _parallel_pairs), (skew, _skew_pairs)):
        i, j = first[chosen], second[chosen]
        if i.size:
            values = integral(one.path[i], vectors[i], other.path[j], others[j], softening)
            total += float(cosines[chosen] @ values)
    return float(mu_0) / (4.0 * np.pi) * total


def _parallel_pairs(
    start: NDArray[np.float64],
    vector: NDArray[np.float64],
    other: NDArray[np.float64],
    other_vector: NDArray[np.float64],
    softening: float,
) -> NDArray[np.float64]:
    """Return the double integrals of 1/sqrt(r² + softening²) over pairs of parallel pieces, in m.

    x asinh(x/d) - sqrt(x² + d²) has the second derivative 1/sqrt(x² + d²); the middles give the distance d.
    """
    length, other_length = _size(vector), _size(other_vector)
    unit = vector / length[:, None]
    apart = (other + 0.5 * other_vector) - (start + 0.5 * vector)
    along = _dot(apart, unit)
    d = np.sqrt(np.maximum(_dot(apart, apart) - along**2, 0.0) + softening**2 + _POINT**2)
    half, difference = 0.5 * (length + other_length), 0.5 * (length - other_length)

    def primitive(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(x * np.arcsinh(x / d) - np.hypot(x, d))

    return (
        primitive(along + half)
        + primitive(along - half)
        - primitive(along + difference)
        - primitive(along - difference)
    )


def _skew_pairs(
    start: NDArray[np.float64],
    vector: NDArray[np.float64],
    other: NDArray[np.float64],
    other_vector: NDArray[np.float64],
    softening: float,
) -> NDArray[np.float64]:
    """Return the double integrals of 1/sqrt(r² + softening²) over pairs of pieces at an angle, in m.

    With s and t counted from the feet of the common normal of length d, r² = d² + s² + t² - 2 s t cos; the
    primitive is Grover's (chapter 7, after Campbell 1915) with inverse hyperbolic sines for logarithms.
    """
    length, other_length = _size(vector), _size(other_vector)
    u, v = vector / length[:, None], other_vector / other_length[:, None]
    normal = np.cross(u, v)
    sine = _size(normal)
    cosine = _dot(u, v)
    between = other - start
    d = np.sqrt((_dot(between, normal) / sine) ** 2 + softening**2 + _POINT**2)
    along_u, along_v = _dot(between, u), _dot(between, v)
    s_foot = _dot(np.cross(between, v), normal) / sine**2
    t_foot = _dot(np.cross(between, u), normal) / sine**2
    total = np.zeros_like(d)
    for sign_s, s in ((1.0, length), (-1.0, np.zeros_like(d))):
        for sign_t, t in ((1.0, other_length), (-1.0, np.zeros_like(d))):
            # s - t cos and t - s cos without the far-away feet of almost parallel pieces
            from_s, from_t = s - t * cosine - along_u, t - s * cosine + along_v
            s_far, t_far = s - s_foot, t - t_foot
            r = np.sqrt(np.sum((between + t[:, None] * v - s[:, None] * u) ** 2, axis=1) + softening**2)
            value = s_far * np.arcsinh(from_t / np.hypot(s_far * sine, d))
            value += t_far * np.arcsinh(from_s / np.hypot(t_far * sine, d))
            value -= d / sine * np.arctan2(d**2 * cosine + s_far * t_far * sine**2, d * sine * r)
            total += sign_s * sign_t * value
    return np.asarray(total)
