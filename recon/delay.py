"""Gradient delays of a radial scan, one per axis, from the scan's own samples around the centre of k-space.

True here: each gradient axis runs late by a constant time, k_i(t) = k_i,nominal(t - delay_i), for centre-out
and for full spokes alike. Not modelled: eddy currents that are no delay, cross terms between axes, motion,
two unequal decay constants within the short piece of readout that is used.

An object of radius R has a smooth k-space, whatever the coils see of it: 2 pi R k around 5 leaves a hundred
numbers per channel. Many more samples lie there, and only the right delays bring all spokes to agree on
them. Opposed spokes and crossings of spokes (RING) are two uses of the same fact; a fit of all samples needs
no pair, no crossing and no full spoke.

Use: ``path = RadialPath(directions, design.radius, times)``, or ``RadialPath.from_trajectory(trajectory,
dwell_time)`` where only the samples' places are known; ``estimate = estimate_delays(samples, path,
object_radius=...)``; then reconstruct with ``path.positions(estimate.delays)`` in place of the trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import spherical_jn

from coilbench.base.errors import MeasurementError
from recon.sensitivities import solid_harmonics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    #: A model (sample, function) and the two factors of its QR decomposition.
    _Factors = tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.complex128]]

#: 2 pi R k up to which samples are used: a ball's transform has fallen to a tenth (its first zero is 4.49).
_REACH: Final = 4.0
#: Degrees of the expansion: the next one's spherical Bessel function at _REACH is 3e-4 of the first's at 0.
_DEGREE: Final = 8
#: Samples that are used, all those of as many spokes spread over the scan as hold them.
_MOST_SAMPLES: Final = 20_000
#: Samples per unknown of one channel below which the fit would follow the noise.
_LEAST_RATIO: Final = 3
#: s. Step of the numerical derivatives by delay: far below any delay, far above rounding.
_DELAY_STEP: Final = 1e-9
#: Rounds of Gauss and Newton; four are usual.
_ROUNDS: Final = 20
#: s. Change of the delays at which the fit has converged: a thousandth of a gradient raster.
_CONVERGED: Final = 1e-8
#: Step, in standard uncertainties of what it changes, that is lost in the noise: the fit has converged.
_STILL: Final = 0.03
#: Times that a step which fits worse is halved: samples that a delay takes past the gradient's start stop
#: moving at once, which no derivative shows.
_HALVINGS: Final = 8
#: Standard uncertainty of a path through samples, in sample intervals: rectangular, up to 0.07 (measured).
_SPLINE: Final = 0.04
#: Share of a spoke's length that its samples may lie off its straight line (float32 trajectories: 1e-6).
_STRAIGHT: Final = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class RadialPath:
    """Where the nominal gradients lead: straight spokes that share one |k| of time.

    Parameters
    ----------
    directions
        Unit vectors (x, y, z), shape (spoke, 3).
    radius
        Signed distance from the centre in 1/m at any time in s, of any shape; negative on the first half of
        full spokes.
    times
        Of the samples in s, shape (sample,).
    timing
        Standard uncertainty in s of when the gradient starts, for not knowing ``radius`` between the samples.
    """

    directions: NDArray[np.float64]
    radius: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    times: NDArray[np.float64]
    timing: float = 0.0

    def __post_init__(self) -> None:
        if self.directions.ndim != 2 or self.directions.shape[1] != 3 or self.times.ndim != 1:
            raise ValueError(
                f"directions (spoke, 3) and times (sample,) expected, got {self.directions.shape} "
                f"and {self.times.shape}"
            )

    @classmethod
    def from_trajectory(cls, trajectory: NDArray[np.floating[Any]], dwell_time: float) -> RadialPath:
        """Return the path through given samples; between them |k| is a cubic spline.

        Where the gradient of centre-out spokes starts and stops ramping within a sample no spline knows it:
        delays come out wrong by up to 0.07 sample intervals (density-adapted designs of 6 and 13 mT/m at 5 to
        20 us; monotone splines are no better). ``timing`` says so. Give ``radius`` itself where it is known.

        Parameters
        ----------
        trajectory
            Nominal k in 1/m, shape (spoke, sample, 3).
        dwell_time
            s from sample to sample.

        Raises
        ------
        ValueError
            The spokes are not straight, or do not share one |k| of time.
        """
        nominal = np.asarray(trajectory, dtype=np.float64)
        ends = nominal[:, -1]
        directions = ends / np.maximum(np.linalg.norm(ends, axis=1, keepdims=True), np.finfo(float).tiny)
        along = np.einsum("sti,si->st", nominal, directions).mean(axis=0)
        off = float(np.max(np.abs(nominal - directions[:, None] * along[None, :, None])))
        if not off <= _STRAIGHT * float(np.max(np.abs(along))):
            raise ValueError(
                f"samples lie up to {off:.3g} 1/m off straight spokes of equal speed: delays are estimated "
                "for radial scans only"
            )
        times = np.arange(along.size) * dwell_time
        spline = CubicSpline(times, along)
        starts_at_centre = bool(abs(along[0]) <= _STRAIGHT * float(np.max(np.abs(along))))

        def radius(time: NDArray[np.float64]) -> NDArray[np.float64]:
            inside = spline(np.clip(time, times[0], times[-1]))
            before = 0.0 if starts_at_centre else spline(times[0], 1) * np.minimum(time - times[0], 0.0)
            beyond = spline(times[-1], 1) * np.maximum(time - times[-1], 0.0)
            values = np.asarray(inside + before + beyond, dtype=np.float64)
            return np.maximum(values, 0.0) if starts_at_centre else values

        return cls(directions, radius, times, _SPLINE * dwell_time if starts_at_centre else 0.0)

    def positions(self, delays: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> NDArray[np.float32]:
        """Return k in 1/m of all samples when the axes are late by ``delays`` (s), (spoke, sample, 3)."""
        along = self.radii(delays)
        return np.asarray(self.directions[:, None, :] * along[None], dtype=np.float32)

    def radii(self, delays: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the signed distance of each axis in 1/m, shape (sample, 3)."""
        return np.stack([self.radius(self.times - delay) for delay in delays], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class DelayEstimate:
    """Delays of the gradient axes and how well they are known.

    Parameters
    ----------
    delays
        Of x, y, z in s; positive: the gradient is late.
    covariance
        Of the delays in s², shape (3, 3): noise, and what is not known of the gradient between the samples.
    decay_rate
        1/s, fitted along with them.
    off_resonance
        Hz, of the object as a whole, fitted along; positive: faster than the oscillator.
    noise
        Standard deviation of the real part of what the fit left, in units of the samples: for whitened
        samples 1, unless the spokes disagree for another reason.
    residual
        Root mean square of what the fit left, relative to the samples'.
    """

    delays: tuple[float, float, float]
    covariance: NDArray[np.float64]
    decay_rate: float
    off_resonance: float
    noise: float
    residual: float

    @property
    def uncertainty(self) -> tuple[float, float, float]:
        """Standard uncertainties of the delays in s."""
        x, y, z = np.sqrt(np.diag(self.covariance))
        return float(x), float(y), float(z)


def estimate_delays(
    samples: NDArray[np.complexfloating[Any, Any]],
    path: RadialPath,
    *,
    object_radius: float,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> DelayEstimate:
    """Estimate the delays of the gradient axes from a radial scan.

    Parameters
    ----------
    samples
        Whitened, or of equal noise in every channel, shape (channel, spoke, sample).
    path
        The nominal spokes.
    object_radius
        m; of a ball around ``centre`` that holds the whole object.
    centre
        (x, y, z) in m.

    Raises
    ------
    ValueError
        Shapes do not match.
    MeasurementError
        Too few samples lie around the centre of k-space, or the fit does not settle.

    Notes
    -----
    Separable least squares (Golub, Pereyra, Inverse Probl 19:R1 (2003)): the object's coefficients are
    eliminated, Gauss and Newton find delays, decay and frequency. The expansion is the transform of Zernike
    functions in the ball, j_(n+1)(x) / x Y_lm with x = 2 pi R k. Covariance: noise times the inverse of the
    projected normal matrix. Opposed spokes: Peters et al., Magn Reson Med 50:1 (2003); RING: Rosenzweig
    et al., Magn Reson Med 81:1898 (2019).
    """
    problem = _CentreFit(samples, path, object_radius, np.asarray(centre))
    unknowns, last = np.zeros(5), np.inf
    for _ in range(_ROUNDS):
        step, residual, normal = problem.linearise(unknowns)
        step = problem.shortened(unknowns, step, residual)
        unknowns = unknowns + step
        last = float(np.max(np.abs(step[:3])))
        gained = step @ normal @ step / (_power(residual) / problem.degrees_of_freedom)
        if last < _CONVERGED or gained < _STILL**2:
            break
    else:
        raise MeasurementError(
            f"the delays still change by {last * 1e6:.3g} us after {_ROUNDS} rounds: is the object larger "
            f"than the stated {object_radius * 1e3:.3g} mm radius, or the trajectory wrong?"
        )
    variance = _power(residual) / problem.degrees_of_freedom
    covariance = variance * np.linalg.inv(normal)
    covariance[:3, :3] += path.timing**2 * np.eye(3)
    return DelayEstimate(
        delays=(float(unknowns[0]), float(unknowns[1]), float(unknowns[2])),
        covariance=covariance[:3, :3],
        decay_rate=float(unknowns[3]),
        off_resonance=float(unknowns[4]),
        noise=float(np.sqrt(variance)),
        residual=float(np.linalg.norm(residual) / np.linalg.norm(problem.data)),
    )


class _CentreFit:
    """The samples around the centre of k-space and the model of them."""

    def __init__(
        self,
        samples: NDArray[np.complexfloating[Any, Any]],
        path: RadialPath,
        radius: float,
        centre: NDArray[np.float64],
    ) -> None:
        spokes = path.directions.shape[0]
        if samples.ndim != 3 or samples.shape[1:] != (spokes, path.times.size):
            raise ValueError(
                f"samples (channel, {spokes}, {path.times.size}) expected for this path, got {samples.shape}"
            )
        limit = _REACH / (2 * np.pi * radius)
        used = np.abs(path.radius(path.times)) <= limit
        per_spoke = int(np.count_nonzero(used))
        count = min(spokes, _MOST_SAMPLES // max(per_spoke, 1))
        chosen = np.unique(np.linspace(0, spokes - 1, count).astype(int))
        unknowns = (_DEGREE + 1) * (_DEGREE + 2) * (_DEGREE + 3) // 6
        found = per_spoke * chosen.size
        if per_spoke < 2 or found < _LEAST_RATIO * unknowns:
            raise MeasurementError(
                f"{found} samples of {chosen.size} spokes lie within {limit:.3g} 1/m of the centre of "
                f"k-space; delays need {_LEAST_RATIO * unknowns}, at least two per spoke: use more spokes or "
                "a shorter dwell time"
            )
        times = path.times[used]
        self._path = RadialPath(path.directions[chosen], path.radius, times)
        self._times = np.tile(times - times[0], chosen.size)
        self._radius, self._centre = radius, centre
        picked = samples[:, chosen][:, :, used].reshape(samples.shape[0], -1)
        self.data = np.asarray(picked.T, dtype=np.complex128)
        self._last: tuple[NDArray[np.float64], _Factors] | None = None
        self.degrees_of_freedom = 2 * (found - unknowns) * samples.shape[0] - 5

    def linearise(
        self, unknowns: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.float64]]:
        """Return the Gauss-Newton step, the residual (sample, channel) and the normal matrix (5, 5)."""
        model, basis, triangle = self._decomposed(unknowns)
        projected = basis.conj().T @ self.data
        coefficients = np.linalg.solve(triangle, projected)
        residual = self.data - basis @ projected
        changes: list[NDArray[np.complex128]] = []
        for axis in range(3):
            step = np.zeros(5)
            step[axis] = _DELAY_STEP
            change = (self._model(unknowns + step) - model) @ coefficients / _DELAY_STEP
            changes.append(np.asarray(change, dtype=np.complex128))
        fitted = model @ coefficients
        changes += [-self._times[:, None] * fitted, 2j * np.pi * self._times[:, None] * fitted]
        columns = [(change - basis @ (basis.conj().T @ change)).ravel() for change in changes]
        jacobian = np.stack(columns, axis=1)
        normal = (jacobian.conj().T @ jacobian).real
        scale = np.sqrt(np.diag(normal))
        gradient = (jacobian.conj().T @ residual.ravel()).real
        step = np.linalg.solve(normal / np.outer(scale, scale), gradient / scale) / scale
        return step, residual, normal

    def shortened(
        self, unknowns: NDArray[np.float64], step: NDArray[np.float64], residual: NDArray[np.complex128]
    ) -> NDArray[np.float64]:
        """Return the step, halved until it fits better than ``residual``; 0 where no part of it does."""
        before = _power(residual)
        for _ in range(_HALVINGS):
            basis = self._decomposed(unknowns + step)[1]
            if _power(self.data - basis @ (basis.conj().T @ self.data)) < before:
                return step
            step = step / 2
        return np.zeros_like(step)

    def _decomposed(self, unknowns: NDArray[np.float64]) -> _Factors:
        """Return the model and its QR decomposition; the last is kept, as a step tried is linearised next."""
        if self._last is None or not np.array_equal(self._last[0], unknowns):
            model = self._model(unknowns)
            basis, triangle = np.linalg.qr(model)
            self._last = (unknowns, (model, basis, triangle))
        return self._last[1]

    def _model(self, unknowns: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the k-space of every function of the expansion at the samples, (sample, function)."""
        along = self._path.radii(unknowns[:3])
        k = (self._path.directions[:, None, :] * along[None]).reshape(-1, 3)
        turn = (-unknowns[3] + 2j * np.pi * unknowns[4]) * self._times - 2j * np.pi * (k @ self._centre)
        return np.asarray(
            ball_functions(k, self._radius, _DEGREE) * np.exp(turn)[:, None], dtype=np.complex128
        )


def _power(values: NDArray[np.complex128]) -> float:
    return float(np.sum(np.square(np.ascontiguousarray(values).view(np.float64))))


def ball_functions(k: NDArray[np.float64], radius: float, degree: int) -> NDArray[np.complex128]:
    """Return the transforms of the Zernike functions of a ball up to ``degree``, each of size around 1.

    Parameters
    ----------
    k
        (kx, ky, kz) in 1/m, shape (point, 3).
    radius
        Of the ball in m.
    degree
        Highest degree n; for each the orders l = n, n - 2, ... and all m.

    Returns
    -------
    Shape (point, (degree + 1) (degree + 2) (degree + 3) / 6).

    Notes
    -----
    iⁿ j_(n+1)(x) / x Y_lm(k), x = 2 pi R |k|: the disc's transforms of Noll, J Opt Soc Am 66:207 (1976),
    eq. 8, in three dimensions.
    """
    length = np.linalg.norm(k, axis=1)
    x = np.maximum(2 * np.pi * radius * length, 1e-6)
    harmonics = solid_harmonics(k / np.maximum(length, 1e-30)[:, None], degree)
    # The recurrence leaves Y_lm unnormalised: up to (2l - 1)!!.
    sizes = np.sqrt(np.mean(np.square(solid_harmonics(_sphere(), degree)), axis=0))
    columns = []
    for n in range(degree + 1):
        radial = 1j**n * 3 * spherical_jn(n + 1, x) / x
        for order in range(n, -1, -2):
            part = slice(order**2, (order + 1) ** 2)
            columns.append(radial[:, None] * (harmonics[:, part] / sizes[part]))
    return np.asarray(np.concatenate(columns, axis=1), dtype=np.complex128)


def _sphere() -> NDArray[np.float64]:
    """Return points spread over the unit sphere (Fibonacci lattice), shape (point, 3)."""
    number = np.arange(500) + 0.5
    z = 1 - 2 * number / 500
    azimuth = np.pi * (3 - np.sqrt(5)) * number
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=1)
