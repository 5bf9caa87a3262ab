"""How a scan shall be reconstructed: by which method, back end and filter. One call for all of them.

Gridding gives SNR units where there is a noise scan; its noise is known by formula. The iterative methods
share what they need: density weights, and sensitivities from the gridded images' low frequencies. Their
noise is not even, so their images have no SNR units: ``recon.snr.pseudo_replica_noise`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.anatomical import anatomical_sense
from recon.cg_sense import ITERATIONS, cg_sense
from recon.combine import combine_squares, snr_units
from recon.compression import principal_channels
from recon.density import window
from recon.foreign import Reconstruction, density_of, reconstruct_dataset, whiten
from recon.nufft import NonUniformTransform
from recon.sensitivities import low_resolution_sensitivities
from recon.sparse import sparse_sense

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.dataset import Dataset
    from recon.density import Taper
    from recon.nufft_backends import BackendName

Method = Literal["gridding", "cg-sense", "tv", "wavelet", "anatomical"]
#: All methods, the plain one first.
METHODS: Final[tuple[Method, ...]] = get_args(Method)
#: Strength of a sparse penalty in noise deviations of a voxel, and smoothing length of the anatomical one in
#: voxels; both suppress noise without blurring the vials of a phantom visibly.
_STRENGTH: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How to reconstruct.

    Parameters
    ----------
    method
        One of ``METHODS``.
    backend
        Of the non-uniform transform.
    filter_window
        Laid on k-space; of gridding only.
    strength
        Of the penalty: noise deviations for ``"tv"`` and ``"wavelet"``, voxels for ``"anatomical"``; None: 1.
    iterations
        At most, for ``"cg-sense"``.
    virtual_channels
        Compress to so many; None: all.
    anatomy
        Image of the same place, shape of the grid (z, y, x); for ``"anatomical"`` only.

    Raises
    ------
    BenchFileError
        The parts do not fit each other; the text says which.
    """

    method: Method = "gridding"
    backend: BackendName = "finufft"
    filter_window: Taper = "none"
    strength: float | None = None
    iterations: int = ITERATIONS
    virtual_channels: int | None = None
    anatomy: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BenchFileError(f"there is no method {self.method!r}; there are: {', '.join(METHODS)}")
        if (self.method == "anatomical") != (self.anatomy is not None):
            raise BenchFileError("the method anatomical needs an anatomical image of the place, others none")
        if self.method != "gridding" and self.filter_window != "none":
            raise BenchFileError(f"a filter belongs to gridding; {self.method} has a penalty of its own")
        if self.strength is not None and (self.method in ("gridding", "cg-sense") or not self.strength >= 0):
            raise BenchFileError("a strength, not negative, belongs to tv, wavelet and anatomical")
        if self.iterations < 1:
            raise BenchFileError(f"at least one iteration is needed, got {self.iterations}")

    @property
    def is_plain(self) -> bool:
        """Whether it is gridding without any wish."""
        return self.method == "gridding" and self.filter_window == "none" and self.virtual_channels is None


def reconstruct_by(recipe: Recipe, dataset: Dataset, /) -> Reconstruction:
    """Reconstruct a scan by a recipe.

    Raises
    ------
    BenchFileError
        The recipe needs a trajectory, and the scan is Cartesian.
    MeasurementError
        A channel of the noise scan is dead, ducc0 is asked for and not installed, or nothing can be solved.
    """
    if dataset.trajectory is None:
        if not recipe.is_plain:
            raise BenchFileError(
                f"{dataset.name} is fully sampled Cartesian: its inverse Fourier transform is the solution "
                "of every one of these methods; leave out --method, --filter and --channels"
            )
        return reconstruct_dataset(dataset)
    noise, samples = whiten(dataset)
    weights, density = density_of(dataset, dataset.trajectory)
    notes = list(dataset.notes)
    if noise is None:
        notes.append("no noise scan: channels are not whitened and the image has no SNR scale")
    if recipe.virtual_channels is not None:
        compression = principal_channels(samples, weights, min(recipe.virtual_channels, dataset.channels))
        samples = compression.apply(samples)
        notes.append(f"{compression.channels} virtual channels, {100 * compression.kept:.2f} % of the energy")
    transform = NonUniformTransform(dataset.grid, dataset.trajectory, backend=recipe.backend)
    radii = np.linalg.norm(dataset.trajectory, axis=-1)
    tapered = weights * window(radii, dataset.grid.nyquist, recipe.filter_window)
    images = transform.adjoint(samples, tapered.astype(np.float32))
    gain = float(np.sqrt(np.sum(tapered**2)))
    gridded = Reconstruction(
        name=dataset.name,
        image=_combined(images, gain, is_white=noise is not None),
        grid=dataset.grid,
        channels=dataset.channels,
        in_snr_units=noise is not None,
        channel_images=images,
        noise_gain=gain,
        density=density,
        noise=noise,
        notes=tuple(notes),
    )
    if recipe.method == "gridding":
        return gridded
    image, remark = _solve(recipe, samples, transform, weights, images)
    return replace(
        gridded, image=np.abs(image).astype(np.float32), in_snr_units=False, notes=(*notes, remark)
    )


def _combined(images: NDArray[np.complex64], gain: float, *, is_white: bool) -> NDArray[np.float32]:
    if len(images) == 1:
        image = np.abs(images[0]) / np.float32(gain if is_white else 1)
    elif not is_white:
        image = combine_squares(images, correct_bias=False)
    else:
        image = snr_units(images, low_resolution_sensitivities(images), gain)
    return np.asarray(image, dtype=np.float32)


def _solve(
    recipe: Recipe,
    samples: NDArray[np.complex64],
    transform: NonUniformTransform,
    weights: NDArray[np.float64],
    images: NDArray[np.complex64],
) -> tuple[NDArray[np.complex64], str]:
    """Return the image of an iterative method and how it was found."""
    maps = (
        low_resolution_sensitivities(images)
        if len(images) > 1
        else np.ones((1, *transform.grid.shape), dtype=np.complex64)
    )
    strength = _STRENGTH if recipe.strength is None else recipe.strength
    if recipe.method == "cg-sense":
        solution = cg_sense(samples, transform, weights, maps, iterations=recipe.iterations)
        return solution.image, f"CG-SENSE, {solution.iterations} iterations"
    if recipe.method == "anatomical":
        if recipe.anatomy is None or recipe.anatomy.shape != transform.grid.shape:
            shape = None if recipe.anatomy is None else recipe.anatomy.shape
            raise MeasurementError(f"the anatomical image has shape {shape}, the scan {transform.grid.shape}")
        length = strength * max(transform.grid.spacing)
        solution = anatomical_sense(
            samples, transform, weights, maps, recipe.anatomy, smoothing_length=length
        )
        return solution.image, f"anatomically weighted, smoothed over {1e3 * length:.1f} mm within tissues"
    penalty: Literal["tv", "wavelet"] = "tv" if recipe.method == "tv" else "wavelet"
    sparse = sparse_sense(samples, transform, weights, maps, penalty=penalty, strength=strength)
    return (
        sparse.image,
        f"{recipe.method}, strength {strength:g}; not linear: noise depends on the object",
    )
