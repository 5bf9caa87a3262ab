"""CG-SENSE: the image that explains the samples of all channels best, by conjugate gradients.

Minimises sum over channels and points of w |E x - s|². Voxels are scaled by what the channels together
receive there (intensity correction, Pruessmann et al., Magn Reson Med 46:638 (2001), eq 24), which takes the
40 iterations that a loop array needs as it is down to 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.encoding import SenseEncoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.nufft import NonUniformTransform
    from recon.off_resonance import OffResonanceTransform

#: Iterations: 5 reach the least error for spokes that cover k-space; later ones amplify noise (measured).
ITERATIONS: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What conjugate gradients found.

    Parameters
    ----------
    image
        complex64, shape (z, y, x); 0 where no channel receives anything.
    residuals
        Norm of the preconditioned residual of the normal equations over that of their right side: 1 for the
        image of zeros it starts from, then one after each iteration.
    """

    image: NDArray[np.complex64]
    residuals: tuple[float, ...]

    @property
    def iterations(self) -> int:
        """Iterations done."""
        return len(self.residuals) - 1

    @property
    def is_linear(self) -> bool:
        """True, to about the last residual: noise, SNR units and concentrations are defined."""
        return True


def cg_sense(
    samples: NDArray[np.complex64],
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.floating[Any]],
    sensitivities: NDArray[np.complex64],
    *,
    iterations: int = ITERATIONS,
    residual: float = 0.0,
    toeplitz: bool = True,
) -> Solution:
    """Return the CG-SENSE image of a scan.

    Parameters
    ----------
    samples
        Whitened, unweighted, shape (channel, ...).
    transform
        Between the image grid and the scan's k-space positions; chooses back end, accuracy and threads.
        With a field: ``recon.off_resonance``.
    weights
        Volume elements (density weights) in 1/m³, one per position, any shape. With them few iterations are
        enough; they also say how much each sample counts.
    sensitivities
        Of the whitened channels, shape (channel, z, y, x); 0 where unknown.
    iterations
        Largest number of iterations.
    residual
        Stop when the residual (see ``Solution``) falls below.
    toeplitz
        Convolve instead of going to k-space and back in each iteration.

    Raises
    ------
    ValueError
        Sizes do not fit each other.
    MeasurementError
        No channel receives anything, or the samples are not finite.

    Notes
    -----
    Pruessmann et al., Magn Reson Med 46:638 (2001). Fewer iterations mean more smoothing and less noise: the
    number of iterations regularises. For many channels compress them first (``recon.compression``).
    """
    encoding = SenseEncoding(transform, weights, sensitivities, toeplitz=toeplitz)
    return solve_sense(encoding, encoding.adjoint(samples), iterations=iterations, residual=residual)


def solve_sense(
    encoding: SenseEncoding,
    right_side: NDArray[np.complex64],
    *,
    iterations: int = ITERATIONS,
    residual: float = 0.0,
) -> Solution:
    """Return the CG-SENSE image of a scan that is gridded already.

    Parameters
    ----------
    encoding
        Prepared once for any number of scans.
    right_side
        ``encoding.adjoint(samples)``, or ``encoding.receive(images)`` of the gridded channel images;
        shape (z, y, x).
    iterations
        Largest number of iterations.
    residual
        Stop when the residual (see ``Solution``) falls below.

    Raises
    ------
    ValueError
        Less than one iteration is asked for.
    MeasurementError
        No channel receives anything, or the right side is not finite.
    """
    if iterations < 1:
        raise ValueError(f"at least one iteration is needed, got {iterations}")
    intensity = encoding.intensity()
    if not np.any(intensity > 0):
        raise MeasurementError("the sensitivities are zero everywhere: no channel can see the object")
    received = intensity > 0
    scaling = np.where(received, 1 / np.where(received, intensity, 1), 0).astype(np.float32)
    return conjugate_gradient(
        encoding.normal, right_side, scaling=scaling, iterations=iterations, residual=residual
    )


def conjugate_gradient(
    normal: Callable[[NDArray[np.complex64]], NDArray[np.complex64]],
    right_side: NDArray[np.complex64],
    *,
    scaling: NDArray[np.float32] | None = None,
    iterations: int = ITERATIONS,
    residual: float = 0.0,
) -> Solution:
    """Solve normal(x) = right side for a Hermitian positive operator, from zero.

    Parameters
    ----------
    normal
        The operator, (z, y, x) to (z, y, x); also the sum of a ``LinearOperator``'s normal operator and
        quadratic penalties.
    right_side
        Shape (z, y, x).
    scaling
        Real preconditioner p, shape (z, y, x): solves p normal(p y) = p right side for y = x / p; 0 keeps a
        voxel at 0. None: 1.
    iterations
        Largest number of iterations.
    residual
        Stop when the relative residual falls below.

    Raises
    ------
    MeasurementError
        The right side is not finite.

    Notes
    -----
    Hestenes and Stiefel, J Res Natl Bur Stand 49:409 (1952). Inner products of planes are summed in double
    precision.
    """
    p = np.float32(1) if scaling is None else scaling
    remainder = (p * right_side).astype(np.complex64)
    start = power = _product(remainder, remainder)
    if not np.isfinite(start):
        raise MeasurementError(
            "the samples or weights are not finite numbers: the image cannot be solved for"
        )
    solution = np.zeros_like(remainder)
    direction = remainder.copy()
    residuals = [1.0]
    while len(residuals) <= iterations and residuals[-1] > residual and power > 0:
        turned = p * normal(p * direction)
        curvature = _product(direction, turned)
        if curvature <= 0:
            break
        step = np.float32(power / curvature)
        solution += step * direction
        remainder -= step * turned
        before, power = power, _product(remainder, remainder)
        direction *= np.float32(power / before)
        direction += remainder
        residuals.append(float(np.sqrt(power / start)))
    return Solution((p * solution).astype(np.complex64), tuple(residuals))


def _product(left: NDArray[np.complex64], right: NDArray[np.complex64]) -> float:
    """Return the real part of the inner product: planes in single precision, their sum in double."""
    planes = [image.view(np.float32).reshape(len(image), -1) for image in (left, right)]
    return float(np.einsum("zr,zr->z", *planes).sum(dtype=np.float64))
