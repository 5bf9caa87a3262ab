"""Images with little variation (TV) or few wavelets: less noise at low SNR, at the price of linearity.

Minimises half the weighted misfit of ``recon.cg_sense`` plus the penalty. What comes out is NOT linear in the
data: its noise depends on the object, contrasts of small structures shrink, and no SNR, g factor or
concentration can be read from it. ``SparseSolution.is_linear`` is False and says so; concentrations come from
gridding, CG-SENSE or ``recon.anatomical``. Use it to see, not to measure.

Use: ``sparse_sense(samples, transform, weights, sensitivities, penalty="tv")``, arguments as ``cg_sense``.
The strength counts in standard deviations of each voxel's own noise, so its default fits any scan. For vials
TV leaves half the error of wavelets.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
import pywt

from coilbench.base.errors import MeasurementError
from recon.encoding import SenseEncoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.nufft import NonUniformTransform
    from recon.off_resonance import OffResonanceTransform

#: Iterations at most; the change per iteration ends most reconstructions before.
ITERATIONS: Final = 150
#: Relative change of the image per iteration at which to stop: a tenth of a percent over the last hundred.
_CHANGE: Final = 1e-5
#: Share of the strongest reception below which a voxel counts as unseen and stays 0.
_LEAST_INTENSITY: Final = 1e-3
#: Rounds of the power method, and how much too small its answer may be after them.
_POWER_ROUNDS: Final = 12
_POWER_MARGIN: Final = 1.1
#: Daubechies' wavelet with two vanishing moments: short enough for 64 voxels, less blocky than Haar.
_WAVELET: Final = "db2"
#: Standard deviations of the noise that are penalised unless stated: the least error for vials at an SNR of
#: 3 to 20 (measured). Wavelets of noise alone reach four of them.
STRENGTHS: Final = MappingProxyType({"tv": 1.0, "wavelet": 4.0})

Penalty = Literal["tv", "wavelet"]


@dataclass(frozen=True, slots=True, eq=False)
class SparseSolution:
    """An image for the eye.

    Parameters
    ----------
    image
        complex64, shape (z, y, x); 0 where no channel receives anything.
    penalty, strength
        What was penalised, and how much in standard deviations of the noise.
    iterations
        Done.
    residual
        Norm of what is left of the optimality condition over that of the data's image: how far from the
        minimum it stopped.
    """

    image: NDArray[np.complex64]
    penalty: Penalty
    strength: float
    iterations: int
    residual: float

    @property
    def is_linear(self) -> bool:
        """False: no SNR units, no g factor, no concentrations."""
        return False


class Analysis(Protocol):
    """A linear map of the image whose values should be few, and a norm of them."""

    def apply(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the values of an image (z, y, x)."""
        ...

    def adjoint(self, values: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the image of values."""
        ...

    def project(self, values: NDArray[np.complex64], limit: float, /) -> NDArray[np.complex64]:
        """Return the nearest values whose dual norm is at most ``limit``."""
        ...


class Variation:
    """Differences between neighbours along z, y and x, per smallest voxel spacing.

    Parameters
    ----------
    spacing
        Of the voxels along (z, y, x).

    Notes
    -----
    Isotropic total variation: Rudin, Osher, Fatemi, Physica D 60:259 (1992). The three differences of a voxel
    shrink together.
    """

    def __init__(self, spacing: tuple[float, float, float]) -> None:
        self._scales = [np.float32(min(spacing) / step) for step in spacing]

    def apply(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the differences, shape (3, z, y, x); 0 at the far end of each axis."""
        values = np.zeros((3, *image.shape), dtype=np.complex64)
        for axis, scale in enumerate(self._scales):
            inner = np.moveaxis(values[axis], axis, 0)
            inner[:-1] = np.diff(np.moveaxis(image, axis, 0), axis=0) * scale
        return values

    def adjoint(self, values: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return minus the divergence, shape (z, y, x)."""
        image = np.zeros(values.shape[1:], dtype=np.complex64)
        for axis, scale in enumerate(self._scales):
            inner, part = np.moveaxis(image, axis, 0), np.moveaxis(values[axis], axis, 0) * scale
            inner[:-1] -= part[:-1]
            inner[1:] += part[:-1]
        return image

    def project(self, values: NDArray[np.complex64], limit: float, /) -> NDArray[np.complex64]:
        """Return vectors of three differences of length at most ``limit``."""
        length = np.sqrt(np.sum(values.real**2 + values.imag**2, axis=0))
        shrunk: NDArray[np.complex64] = values / np.maximum(length / np.float32(limit), np.float32(1))
        return shrunk


class Wavelets:
    """Orthonormal wavelets of the image, padded to whole blocks; the coarsest approximation is free.

    Parameters
    ----------
    shape
        Of the image (z, y, x).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        levels = [int(pywt.dwt_max_level(count, _WAVELET)) for count in shape]
        self._axes = [axis for axis, level in enumerate(levels) if level > 0]
        if not self._axes:
            raise ValueError(f"wavelets need an axis of six voxels at least, got {shape}")
        self._level = min(levels[axis] for axis in self._axes)
        block = 2**self._level
        self._shape = shape
        self._padding = [(0, -count % block if axis in self._axes else 0) for axis, count in enumerate(shape)]
        values, self._slices = self._decompose(np.zeros(shape, dtype=np.complex64))
        coarsest = self._slices[0]
        self._free = np.zeros(values.shape, dtype=bool)
        self._free[coarsest] = True

    def apply(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return all coefficients in one array of the padded image's shape."""
        return self._decompose(image)[0]

    def adjoint(self, values: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the image of coefficients, shape (z, y, x)."""
        parts = pywt.array_to_coeffs(values, self._slices, output_format="wavedecn")
        padded: Any = pywt.waverecn(parts, _WAVELET, mode="periodization", axes=self._axes)
        return np.asarray(padded[tuple(slice(count) for count in self._shape)], dtype=np.complex64)

    def project(self, values: NDArray[np.complex64], limit: float, /) -> NDArray[np.complex64]:
        """Return coefficients of modulus at most ``limit``, 0 in the approximation."""
        clipped = values / np.maximum(np.abs(values) / np.float32(limit), np.float32(1))
        clipped[self._free] = 0
        return clipped.astype(np.complex64)

    def _decompose(self, image: NDArray[np.complex64]) -> tuple[NDArray[np.complex64], Any]:
        padded = np.pad(image, self._padding)
        parts = pywt.wavedecn(padded, _WAVELET, mode="periodization", level=self._level, axes=self._axes)
        values, slices = pywt.coeffs_to_array(parts, axes=self._axes)
        return np.asarray(values, dtype=np.complex64), slices


class _Shaded:
    """An analysis of the image itself, as a map of the image times the intensity, weighted with it."""

    def __init__(
        self, analysis: Variation, scaling: NDArray[np.float32], intensity: NDArray[np.float32]
    ) -> None:
        self._analysis, self._scaling, self._intensity = analysis, scaling, intensity

    def apply(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        return self._intensity * self._analysis.apply(self._scaling * image)

    def adjoint(self, values: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        return self._scaling * self._analysis.adjoint(self._intensity * values)

    def project(self, values: NDArray[np.complex64], limit: float, /) -> NDArray[np.complex64]:
        return self._analysis.project(values, limit)


def sparse_sense(
    samples: NDArray[np.complex64],
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.floating[Any]],
    sensitivities: NDArray[np.complex64],
    *,
    penalty: Penalty = "tv",
    strength: float | None = None,
    iterations: int = ITERATIONS,
) -> SparseSolution:
    """Return the image of least misfit plus total variation or size of wavelets.

    Parameters
    ----------
    samples
        Whitened to unit noise of the real part, unweighted, shape (channel, ...).
    transform
        Between the image grid and the scan's k-space positions, with a field or without.
    weights
        Volume elements (density weights) in 1/m³, one per position.
    sensitivities
        Of the whitened channels, shape (channel, z, y, x); 0 where unknown.
    penalty
        ``"tv"``: piecewise constant objects such as vials. ``"wavelet"``: objects with texture and shading.
    strength
        In standard deviations of the noise of each voxel; None: that of ``STRENGTHS``.
    iterations
        At most.

    Raises
    ------
    ValueError
        Sizes do not fit each other, or the strength is negative.
    MeasurementError
        No channel receives anything, or the samples are not finite.

    Notes
    -----
    Variables are scaled by what the channels receive, as in ``cg_sense``: there the noise of E* s is the same
    everywhere, sqrt(sum of w²). TV is taken of the image itself, each difference weighted with the reception
    at its voxel; wavelets are taken of the scaled image. Primal-dual splitting: Condat, J Optim Theory Appl
    158:460 (2013); Vu, Adv Comput Math 38:667 (2013).
    """
    strength = STRENGTHS[penalty] if strength is None else strength
    if not strength >= 0 or iterations < 1:
        raise ValueError(f"strength {strength:g} and {iterations} iterations: none may be negative or 0")
    encoding = SenseEncoding(transform, weights, sensitivities)
    intensity = encoding.intensity()
    seen = intensity > _LEAST_INTENSITY * float(intensity.max())
    if not np.any(seen):
        raise MeasurementError("the sensitivities are zero everywhere: no channel can see the object")
    scaling = np.where(seen, 1 / np.where(seen, intensity, 1), 0).astype(np.float32)
    right_side = scaling * encoding.adjoint(samples)
    if not np.all(np.isfinite(right_side)):
        raise MeasurementError("the samples or weights are not finite numbers: nothing can be reconstructed")
    analysis: Analysis = (
        _Shaded(Variation(transform.grid.spacing), scaling, np.where(seen, intensity, 0))
        if penalty == "tv"
        else Wavelets(transform.grid.shape)
    )
    noise = float(np.sqrt(np.sum(np.square(weights, dtype=np.float64))))
    image, done, residual = minimise(
        lambda scaled: scaling * encoding.normal(scaling * scaled),
        right_side.astype(np.complex64),
        analysis,
        strength * noise,
        iterations=iterations,
    )
    return SparseSolution(scaling * image, penalty, strength, done, residual)


def minimise(
    normal: Callable[[NDArray[np.complex64]], NDArray[np.complex64]],
    right_side: NDArray[np.complex64],
    analysis: Analysis,
    limit: float,
    *,
    iterations: int = ITERATIONS,
    change: float = _CHANGE,
) -> tuple[NDArray[np.complex64], int, float]:
    """Minimise <x, N x> / 2 - Re <b, x> + limit times the norm of the analysis of x.

    Parameters
    ----------
    normal
        N, Hermitian and not negative, (z, y, x) to (z, y, x).
    right_side
        b, shape (z, y, x).
    analysis
        Map and norm.
    limit
        Weight of the penalty.
    iterations
        At most.
    change
        Relative change per iteration at which to stop.

    Returns
    -------
    The image, the iterations done, and the norm of N x - b + K* u over that of b.
    """
    smooth = _POWER_MARGIN * _largest(normal, right_side.shape)
    sharp = _POWER_MARGIN * _largest(lambda x: analysis.adjoint(analysis.apply(x)), right_side.shape)
    # Both parts of the step's bound 1/tau - sigma |K|² >= |N| / 2 get the same share.
    dual_step = np.float32(0.5 * smooth / sharp)
    step = np.float32(1 / smooth)
    image = np.zeros_like(right_side)
    dual = np.zeros_like(analysis.apply(image))
    size = float(np.linalg.norm(right_side))
    done = 0
    gradient = -right_side
    while done < iterations and size > 0:
        moved = (image - step * gradient).astype(np.complex64, copy=False)
        ahead = (2 * moved - image).astype(np.complex64, copy=False)
        raised = (dual + dual_step * analysis.apply(ahead)).astype(np.complex64, copy=False)
        dual = analysis.project(raised, max(limit, 1e-30))
        moving = float(np.linalg.norm(moved - image))
        image = moved
        gradient = normal(image) - right_side + analysis.adjoint(dual)
        done += 1
        if moving <= change * float(np.linalg.norm(image)):
            break
    return image, done, float(np.linalg.norm(gradient)) / size if size > 0 else 0.0


def _largest(
    operator: Callable[[NDArray[np.complex64]], NDArray[np.complex64]], shape: tuple[int, ...]
) -> float:
    """Return nearly the largest eigenvalue of a Hermitian operator that is not negative: power method."""
    rng = np.random.default_rng(0)
    vector = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    size = 1.0
    for _ in range(_POWER_ROUNDS):
        vector /= np.float32(np.linalg.norm(vector))
        vector = operator(vector)
        size = float(np.linalg.norm(vector))
        if size == 0:
            return 1.0
    return size
