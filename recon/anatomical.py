"""Sodium smoothed within what the proton image of the same array shows as one tissue: quadratic, so linear.

Adds to the misfit of ``recon.cg_sense`` half the squared differences between neighbours, each weighted by how
alike the two are in the anatomical image. The weights come from the other image, never from the data, and
the penalty is quadratic: the result is a linear map of the samples. Noise, SNR units (by replicas) and
concentrations stay defined; what changes is the point spread, which now follows the anatomy.

What it cannot do: an edge of the sodium that the anatomical image does not show is blurred; a plane step
becomes 1 - exp(-x / length) / 2, from 10 to 90 % within 3.2 lengths. What it does not do: an edge of the
anatomical image makes no edge in sodium that is even; a constant costs nothing whatever the weights.

Use: ``anatomical_sense(samples, transform, weights, sensitivities, anatomy, smoothing_length=3e-3)`` with the
proton image resampled to the sodium grid. For concentrations state the smoothing length with the result, and
keep cores of vials two lengths from edges that the anatomical image lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.cg_sense import Solution, conjugate_gradient
from recon.encoding import SenseEncoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.nufft import NonUniformTransform
    from recon.off_resonance import OffResonanceTransform

#: Iterations at most: smoothing over three voxels has a condition number of about 100.
ITERATIONS: Final = 100
#: Relative residual at which the equations count as solved, so the result as linear: 0.01 %.
_RESIDUAL: Final = 1e-4
#: Noise of differences in the anatomical image, in standard deviations, that is no edge yet.
_EDGE: Final = 3.0
#: Standard deviation of a Gaussian over its median absolute value.
_FROM_MEDIAN: Final = 1.4826
#: Share of the anatomical image's maximum from which a voxel belongs to the object; and the least contrast,
#: for images without noise.
_OBJECT: Final = 0.1
_LEAST_CONTRAST: Final = 0.02
#: Share of the strongest reception below which a voxel counts as unseen and stays 0.
_LEAST_INTENSITY: Final = 1e-3


class AnatomicalPenalty:
    """Squared differences between neighbours that are alike in another image.

    Parameters
    ----------
    anatomy
        Magnitude on the sodium grid, even within a tissue, shape (z, y, x).
    grid
        The sodium grid.
    smoothing_length
        m; where the anatomy is even, the point spread becomes exp(-r / length) / r.
    contrast
        Difference in the anatomical image that halves the coupling to exp(-1/2); None: three standard
        deviations of the differences within the object.

    Raises
    ------
    ValueError
        The anatomy is not on the grid, or length or contrast are not positive.
    MeasurementError
        The anatomical image is empty or not finite.

    Notes
    -----
    Weights exp(-(difference / contrast)² / 2): edge-weighted smoothing as in Gnahm, Nagel, NeuroImage 105:452
    (2015), who use total variation, here with the quadratic norm of anatomical priors in emission tomography
    (Bowsher et al., IEEE Nucl Sci Symp 4:2488 (2004)).
    """

    def __init__(
        self,
        anatomy: NDArray[np.floating[Any]],
        grid: Grid,
        *,
        smoothing_length: float,
        contrast: float | None = None,
    ) -> None:
        if anatomy.shape != grid.shape:
            raise ValueError(f"an anatomical image of shape {grid.shape} expected, got {anatomy.shape}")
        if not smoothing_length > 0 or not (contrast is None or contrast > 0):
            raise ValueError("smoothing length and contrast are positive")
        if not np.all(np.isfinite(anatomy)) or not np.any(anatomy > 0):
            raise MeasurementError("the anatomical image is empty or not finite")
        self.contrast = _noise_contrast(anatomy) if contrast is None else contrast
        self.couplings = [
            (
                (smoothing_length / step) ** 2
                * np.exp(-0.5 * (np.diff(anatomy, axis=axis) / self.contrast) ** 2)
            )
            for axis, step in enumerate(grid.spacing)
        ]

    def gradient(self, image: NDArray[np.complex64], intensity: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Return the penalty's gradient: the weighted Laplacian of the image, shape (z, y, x).

        Parameters
        ----------
        image
            Shape (z, y, x).
        intensity
            What the channels together receive: couplings grow with its square, as the data's own weight
            does, so the smoothing length is the same everywhere.
        """
        result = np.zeros_like(image)
        for axis, couplings in enumerate(self.couplings):
            moved, out = np.moveaxis(image, axis, 0), np.moveaxis(result, axis, 0)
            received = np.moveaxis(intensity, axis, 0)
            flow = np.diff(moved, axis=0) * np.moveaxis(couplings, axis, 0) * (received[1:] * received[:-1])
            out[:-1] -= flow
            out[1:] += flow
        return result


def anatomical_sense(
    samples: NDArray[np.complex64],
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.floating[Any]],
    sensitivities: NDArray[np.complex64],
    anatomy: NDArray[np.floating[Any]],
    *,
    smoothing_length: float,
    contrast: float | None = None,
    iterations: int = ITERATIONS,
) -> Solution:
    """Return the image of least misfit plus squared differences within the tissues of another image.

    Parameters
    ----------
    samples
        Whitened, unweighted, shape (channel, ...).
    transform
        Between the image grid and the scan's k-space positions, with a field or without.
    weights
        Volume elements (density weights) in 1/m³, one per position.
    sensitivities
        Of the whitened channels, shape (channel, z, y, x); 0 where unknown.
    anatomy, smoothing_length, contrast
        See ``AnatomicalPenalty``.
    iterations
        At most; ends earlier when solved to 1e-4.

    Returns
    -------
    A linear function of the samples, as far as its last residual is small: 1e-4 after 10 to 25 iterations for
    objects; a third of Nyquist's spokes and noise alone leave 6e-4 after 100.

    Raises
    ------
    ValueError
        Sizes do not fit each other.
    MeasurementError
        No channel receives anything, the samples are not finite, or the anatomical image is empty.
    """
    penalty = AnatomicalPenalty(anatomy, transform.grid, smoothing_length=smoothing_length, contrast=contrast)
    encoding = SenseEncoding(transform, weights, sensitivities)
    intensity = encoding.intensity()
    seen = intensity > _LEAST_INTENSITY * float(intensity.max())
    if not np.any(seen):
        raise MeasurementError("the sensitivities are zero everywhere: no channel can see the object")
    scaling = np.where(seen, 1 / np.where(seen, intensity, 1), 0).astype(np.float32)
    return conjugate_gradient(
        lambda image: encoding.normal(image) + penalty.gradient(image, intensity),
        encoding.adjoint(samples),
        scaling=scaling,
        iterations=iterations,
        residual=_RESIDUAL,
    )


def _noise_contrast(anatomy: NDArray[np.floating[Any]]) -> float:
    """Return the contrast from which a difference within the object is no noise: most of it is no edge."""
    inside = anatomy > _OBJECT * anatomy.max()
    differences = []
    for axis in range(3):
        both = np.delete(inside, 0, axis=axis) & np.delete(inside, -1, axis=axis)
        differences.append(np.abs(np.diff(anatomy, axis=axis))[both])
    found = np.concatenate(differences)
    noise = _FROM_MEDIAN * float(np.median(found)) if found.size else 0.0
    return max(_EDGE * noise, _LEAST_CONTRAST * float(anatomy.max()))
