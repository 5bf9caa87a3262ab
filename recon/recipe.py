"""How a scan shall be reconstructed: by which method, back end and filter. One call for all of them.

Gridding gives SNR units where there is a noise scan; its noise is known by formula. The iterative methods
share what they need: density weights, and sensitivities, by default from the gridded images' low frequencies.
Their noise is not even, so their images have no SNR units: ``recon.snr.pseudo_replica_noise`` measures it.

What depends on the grid (sensitivities, the anatomical image, the field) is given as a function of it: the
grid is only known when the data are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from recon.anatomical import anatomical_sense
from recon.cg_sense import ITERATIONS, cg_sense
from recon.combine import combine_roemer, combine_squares, snr_units
from recon.compression import principal_channels
from recon.delay import RadialPath, estimate_delays
from recon.density import window
from recon.foreign import Reconstruction, density_of, reconstruct_dataset, whiten
from recon.nufft import NonUniformTransform
from recon.off_resonance import OffResonanceTransform
from recon.sensitivities import FromImages, GriddedChannels, low_resolution_sensitivities
from recon.sparse import STRENGTHS, sparse_sense

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from recon.dataset import Dataset
    from recon.density import Taper
    from recon.grid import Grid
    from recon.nufft_backends import BackendName
    from recon.sensitivities import SensitivitySource

Method = Literal["gridding", "cg-sense", "tv", "wavelet", "anatomical"]
#: All methods, the plain one first.
METHODS: Final[tuple[Method, ...]] = get_args(Method)
#: Smoothing length of the anatomical penalty in voxels: suppresses noise without blurring the vials of a
#: phantom visibly.
_SMOOTHING: Final = 1.0
#: Rounding of float32 trajectories, relative.
_ROUNDING: Final = 1e-5
#: Standard uncertainties that a delay must exceed to be corrected, about 95 %: correcting a delay that is all
#: noise would make the image worse.
_COVERAGE: Final = 2.0


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
        Of the penalty: noise deviations for ``"tv"`` and ``"wavelet"``, voxels for ``"anatomical"``; None:
        ``recon.sparse.STRENGTHS``, one voxel.
    iterations
        At most, for ``"cg-sense"``.
    virtual_channels
        Compress to so many; None: all.
    anatomy
        Image of the same place on a grid, shape (z, y, x); for ``"anatomical"`` only.
    sensitivities
        Where they come from; None: from the images' low frequencies.
    field
        Off-resonance in Hz on a grid, shape (z, y, x), of this nucleus; None: the field is even.
    delays_within
        m. Correct those delays of the gradient axes that exceed their uncertainty, estimated for an object in
        a ball of this radius about the centre, at most that of the field of view; None: the trajectory is
        right.

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
    anatomy: Callable[[Grid], NDArray[np.floating[Any]]] | None = None
    sensitivities: SensitivitySource | None = None
    field: Callable[[Grid], NDArray[np.float64]] | None = None
    delays_within: float | None = None

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
        wishes = (self.virtual_channels, self.sensitivities, self.field, self.delays_within)
        return (
            self.method == "gridding"
            and self.filter_window == "none"
            and all(wish is None for wish in wishes)
        )


def reconstruct_by(recipe: Recipe, dataset: Dataset, /) -> Reconstruction:
    """Reconstruct a scan by a recipe.

    Raises
    ------
    BenchFileError
        The recipe needs a trajectory, and the scan is Cartesian; or it needs to know when samples were taken.
    MeasurementError
        A channel of the noise scan is dead, ducc0 is asked for and not installed, or nothing can be solved.
    """
    if dataset.trajectory is None:
        if not recipe.is_plain:
            raise BenchFileError(
                f"{dataset.name} is fully sampled Cartesian: its inverse Fourier transform is the solution "
                "of every one of these methods; leave out all options but --out, --dicom and --plot"
            )
        return reconstruct_dataset(dataset)
    noise, samples = whiten(dataset)
    notes = list(dataset.notes)
    if noise is None:
        notes.append("no noise scan: channels are not whitened and the image has no SNR scale")
    trajectory, beyond = _places(recipe, dataset, dataset.trajectory, samples, notes)
    weights, density = density_of(dataset, trajectory)
    weights = np.where(beyond, 0.0, weights)
    mixing: NDArray[np.complexfloating[Any, Any]] = (
        np.eye(dataset.channels, dtype=np.complex128)
        if noise is None
        else noise.whitening(dataset.dwell_time)
    )
    if recipe.virtual_channels is not None:
        compression = principal_channels(samples, weights, min(recipe.virtual_channels, dataset.channels))
        samples, mixing = compression.apply(samples), compression.matrix @ mixing
        notes.append(f"{compression.channels} virtual channels, {100 * compression.kept:.2f} % of the energy")
    transform = _transform(recipe, dataset, trajectory, notes)
    radii = np.linalg.norm(trajectory, axis=-1)
    tapered = weights * window(radii, dataset.grid.nyquist, recipe.filter_window)
    images = transform.adjoint(samples, tapered.astype(np.float32))
    gain = float(np.sqrt(np.sum(tapered**2)))
    received = GriddedChannels(
        images, dataset.grid, np.asarray(mixing, dtype=np.complex128), gain if noise is not None else np.nan
    )
    maps: NDArray[np.complex64] | None = None
    if recipe.sensitivities is not None:
        maps, remark = recipe.sensitivities(received)
        notes.append(remark)
    gridded = Reconstruction(
        name=dataset.name,
        image=_combined(images, maps, gain, is_white=noise is not None),
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
    if maps is None:
        maps = FromImages()(received)[0]
    image, remark = _solve(recipe, samples, transform, weights, maps)
    return replace(
        gridded, image=np.abs(image).astype(np.float32), in_snr_units=False, notes=(*notes, remark)
    )


def _places(
    recipe: Recipe,
    dataset: Dataset,
    trajectory: NDArray[np.float64],
    samples: NDArray[np.complex64],
    notes: list[str],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where samples lie in k-space, and which were moved to the edge of what voxels can hold."""
    if recipe.delays_within is not None:
        trajectory, remark = _corrected(dataset, trajectory, samples, recipe.delays_within)
        notes.append(remark)
    limits = 0.5 / np.array(dataset.grid.spacing[::-1])
    beyond = np.any(np.abs(trajectory) > limits * (1 + _ROUNDING), axis=-1)
    if np.any(beyond):
        notes.append(f"{100 * np.mean(beyond):.2g} % of the samples lie beyond the matrix: left out")
    return np.clip(trajectory, -limits, limits), np.asarray(beyond)


def _corrected(
    dataset: Dataset, trajectory: NDArray[np.float64], samples: NDArray[np.complex64], radius: float
) -> tuple[NDArray[np.float64], str]:
    """Return where the delayed gradients really led, and how late they are found to be."""
    try:
        path = RadialPath.from_trajectory(trajectory, dataset.dwell_time)
    except ValueError as error:
        raise BenchFileError(f"{dataset.name}: {error}") from error
    radius = min(radius, 0.5 * min(dataset.grid.field_of_view))
    source = "by the samples' places alone"
    if dataset.spoke is not None:
        path = RadialPath(path.directions, dataset.spoke.radius, dataset.spoke.times)
        source = "by the gradient's design"
    estimate = estimate_delays(samples, path, object_radius=radius)
    delays, words = [], []
    for axis, delay, spread in zip("xyz", estimate.delays, estimate.uncertainty, strict=True):
        is_sure = abs(delay) > _COVERAGE * spread
        delays.append(delay if is_sure else 0.0)
        words.append(f"{axis} {1e6 * delay:.2f} ± {1e6 * _COVERAGE * spread:.2f} us")
        if not is_sure:
            words[-1] += " (left: not told from 0)"
    x, y, z = delays
    return path.positions((x, y, z)).astype(np.float64), f"gradients late {source}: {', '.join(words)}"


def _transform(
    recipe: Recipe, dataset: Dataset, trajectory: NDArray[np.float64], notes: list[str]
) -> NonUniformTransform | OffResonanceTransform:
    """Return the transform, in the field if there is one."""
    plain = NonUniformTransform(dataset.grid, trajectory, backend=recipe.backend)
    if recipe.field is None:
        return plain
    if dataset.spoke is None:
        raise BenchFileError(
            f"{dataset.name} does not say when its samples were taken: a field map needs a run folder of ours"
        )
    times = dataset.spoke.times + dataset.spoke.echo_time
    try:
        transform = OffResonanceTransform(plain, recipe.field(dataset.grid), times)
    except ValueError as error:
        raise MeasurementError(f"the field map cannot be used: {error}") from error
    low, high = float(transform.frequency.min()), float(transform.frequency.max())
    notes.append(f"field of {low:.1f} to {high:.1f} Hz, {transform.segments.times.size} time segments")
    return transform


def _combined(
    images: NDArray[np.complex64], maps: NDArray[np.complex64] | None, gain: float, *, is_white: bool
) -> NDArray[np.float32]:
    if maps is None and len(images) == 1:
        image = np.abs(images[0]) / np.float32(gain if is_white else 1)
    elif not is_white:
        image = (
            combine_squares(images, correct_bias=False)
            if maps is None
            else np.abs(combine_roemer(images, maps))
        )
    else:
        image = snr_units(images, low_resolution_sensitivities(images) if maps is None else maps, gain)
    return np.asarray(image, dtype=np.float32)


def _solve(
    recipe: Recipe,
    samples: NDArray[np.complex64],
    transform: NonUniformTransform | OffResonanceTransform,
    weights: NDArray[np.float64],
    maps: NDArray[np.complex64],
) -> tuple[NDArray[np.complex64], str]:
    """Return the image of an iterative method and how it was found."""
    if recipe.method == "cg-sense":
        solution = cg_sense(samples, transform, weights, maps, iterations=recipe.iterations)
        return solution.image, f"CG-SENSE, {solution.iterations} iterations"
    if recipe.anatomy is not None:
        length = (_SMOOTHING if recipe.strength is None else recipe.strength) * max(transform.grid.spacing)
        solution = anatomical_sense(
            samples, transform, weights, maps, recipe.anatomy(transform.grid), smoothing_length=length
        )
        return solution.image, f"anatomically weighted, smoothed over {1e3 * length:.1f} mm within tissues"
    penalty: Literal["tv", "wavelet"] = "tv" if recipe.method == "tv" else "wavelet"
    strength = STRENGTHS[penalty] if recipe.strength is None else recipe.strength
    sparse = sparse_sense(samples, transform, weights, maps, penalty=penalty, strength=strength)
    return (
        sparse.image,
        f"{recipe.method}, strength {strength:g}; not linear: noise depends on the object",
    )
