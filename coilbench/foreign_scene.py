"""What foreign data show of a phantom, in the form in which quality control looks at it: images or raw data.

Nobody has described the phantom: it is what stands out of the background. Of a volume, the slice with
the most signal is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.image_snr import is_image, read_images, snr_of_images
from coilbench.quantities import Quantity
from coilbench.scan_file import read_scan_file
from recon.combine import combine_squares
from recon.foreign import OBJECT_THRESHOLD, reconstruct_dataset
from recon.grid import Grid
from recon.noise import apply_channels, find_faults, noise_model
from recon.outline import central_part, object_mask
from recon.uniformity import CENTRAL_FRACTION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.image_snr import StoredImage
    from recon.dataset import Dataset
    from recon.noise import NoiseModel

#: Kinds of files that state no field of view: nothing in them has a length.
_WITHOUT_LENGTHS: Final = frozenset({".npz", ".mat"})
#: Independent voxels over voxels of a radial scan: a ball in k-space, its edge weighed down.
_RADIAL_FRACTION: Final = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedScan:
    """The channels of raw data with a noise scan.

    Parameters
    ----------
    images
        Before whitening, complex64, shape (channel, z, y, x); dead channels included.
    whitened
        Of the channels that live, same shape but for these.
    noise_gain
        Noise deviation in an image over that in a sample.
    noise
        Of all channels.
    faults
        What is wrong with the receivers, a line each.
    is_radial
        Whether streaks are to be expected, not ghosts.
    """

    images: NDArray[np.complex64]
    whitened: NDArray[np.complex64]
    noise_gain: float
    noise: NoiseModel
    faults: tuple[str, ...]
    is_radial: bool

    @property
    def independent_fraction(self) -> float:
        """Independent voxels over voxels."""
        return _RADIAL_FRACTION if self.is_radial else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A phantom as foreign data show it.

    Parameters
    ----------
    name
        Of the files.
    image
        Magnitude, float32, shape (z, y, x).
    grid
        Where its voxels are, centred.
    slice_number
        Of the slice that is looked at, from 0.
    mask
        The object in it, shape (y, x).
    deviation
        Of the noise's real part in ``image``.
    channels
        Whitened channels whose root of the sum of squares ``image`` is; None for other images.
    has_lengths
        Whether the file says how large its voxels are.
    snr
        Of the object.
    received
        The channels, of raw data with a noise scan.
    is_noise_known
        Whether ``deviation`` comes of a noise scan or of a second image, not of the image itself.
    notes
        What had to be assumed.
    """

    name: str
    image: NDArray[np.float32]
    grid: Grid
    slice_number: int
    mask: NDArray[np.bool_]
    deviation: float
    channels: int | None
    has_lengths: bool
    snr: Quantity
    received: ReceivedScan | None
    is_noise_known: bool
    notes: tuple[str, ...]

    @property
    def slice_image(self) -> NDArray[np.float32]:
        """The slice that is looked at, shape (1, y, x)."""
        return np.asarray(self.image[self.slice_number][None], dtype=np.float32)

    @property
    def slice_grid(self) -> Grid:
        """Of that slice."""
        _, height, width = self.grid.shape
        _, down, across = self.grid.field_of_view
        return Grid((1, height, width), (self.grid.spacing[0], down, across))

    @property
    def floor(self) -> float:
        """Root mean square of the background: what noise alone makes of a magnitude."""
        return self.deviation * float(np.sqrt(2 * (self.channels or 1)))


def read_scene(paths: Sequence[Path], field_of_view: float | None = None, /) -> Scene:
    """Return what foreign data show: one or two repeated images, or raw data.

    Parameters
    ----------
    paths
        DICOM files or folders or NIfTI, at most two images; or one file of raw data.
    field_of_view
        In m along every axis, for raw data whose file does not say it.

    Raises
    ------
    BenchFileError
        A file is missing or of no supported kind, or raw data and images are mixed.
    MeasurementError
        No phantom can be told from the background, or raw data hold no noise scan.
    """
    if all(map(is_image, paths)):
        return _scene_of_images(read_images(paths))
    if len(paths) > 1:
        raise BenchFileError(
            "one file of raw data is taken, or one or two images (DICOM, NIfTI) of one protocol; got "
            + ", ".join(str(path) for path in paths)
        )
    remarks: list[str] = []
    dataset = read_scan_file(paths[0], remarks)
    has_lengths = paths[0].suffix.lower() not in _WITHOUT_LENGTHS
    if field_of_view is not None:
        if has_lengths:
            raise BenchFileError(f"{paths[0]} states its field of view: leave out --field-of-view")
        dataset, has_lengths = _resized(dataset, field_of_view), True
        remarks.append(f"a field of view of {1e3 * field_of_view:g} mm was given")
    scene = _scene_of_raw(dataset, has_lengths=has_lengths)
    return replace(scene, notes=(*remarks, *scene.notes))


def _resized(dataset: Dataset, field_of_view: float) -> Dataset:
    """Return a scan that was read as of 1 m, as of another field of view."""
    trajectory = None if dataset.trajectory is None else dataset.trajectory / field_of_view
    grid = Grid(dataset.grid.shape, (field_of_view, field_of_view, field_of_view))
    kept = tuple(note for note in dataset.notes if "field of view" not in note)
    return replace(dataset, grid=grid, trajectory=trajectory, notes=kept)


def _scene_of_images(images: Sequence[StoredImage]) -> Scene:
    first, others = images[0], images[1:]
    said = snr_of_images(images[:2])
    place = int(said["slice"]) - 1
    spacing = first.spacing
    depth, height, width = first.image.shape
    extent = (depth * spacing[0], height * spacing[1], width * spacing[2])
    grid = Grid((depth, height, width), extent)
    scene = first.image[place]
    mask = object_mask(scene)
    part = central_part(mask, grid, CENTRAL_FRACTION)
    notes = [str(said["notes"])] if said["notes"] else []
    if len(images) > 2:
        notes.append(f"{len(images)} images were read: the first is judged, the second shows its noise")
    return Scene(
        name=first.name,
        image=first.image,
        grid=grid,
        slice_number=place,
        mask=mask,
        deviation=float(np.mean(scene[part])) / float(said["snr"]),
        channels=None,
        has_lengths=True,
        snr=Quantity("SNR", said["snr"], "", said["u_snr"], algorithm=str(said["method"]), version="1"),
        received=None,
        is_noise_known=bool(others),
        notes=tuple(notes),
    )


def _scene_of_raw(dataset: Dataset, *, has_lengths: bool) -> Scene:
    if dataset.noise is None:
        raise MeasurementError(
            f"{dataset.name} holds no noise scan: quality control of raw data rests on one (acquisitions "
            "flagged as noise); of an image alone it needs DICOM or NIfTI"
        )
    received = _receive(dataset, dataset.noise)
    channels = received.whitened.shape[0]
    image = combine_squares(received.whitened, received.noise_gain, correct_bias=False).astype(np.float32)
    place = int(np.argmax(image.sum(axis=(1, 2), dtype=np.float64)))
    inside = image > OBJECT_THRESHOLD * image.max()
    spread = 0.5 * received.noise.variance_uncertainty
    # a root of sum of squares lies (2 n - 1) / 2 SNR above the signal, to first order
    median = float(
        np.median(np.sqrt(np.maximum(image[inside].astype(np.float64) ** 2 - (2 * channels - 1), 0)))
    )
    return Scene(
        name=dataset.name,
        image=image,
        grid=dataset.grid,
        slice_number=place,
        mask=object_mask(image[place], floor=float(np.sqrt(2 * channels))),
        deviation=1.0,
        channels=channels,
        has_lengths=has_lengths,
        snr=Quantity(
            "SNR", median, "", spread * median, algorithm="SNR units, root sum of squares", version="1"
        ),
        received=received,
        is_noise_known=True,
        notes=dataset.notes,
    )


def _receive(dataset: Dataset, windows: NDArray[np.complex64]) -> ReceivedScan:
    """Return channel images before and after whitening; a dead channel does not take part in the latter."""
    noise = noise_model(windows, dataset.noise_dwell_time)
    scan = reconstruct_dataset(replace(dataset, noise=None))
    dead = [number - 1 for number in noise.dead_channels]
    alive = np.setdiff1d(np.arange(dataset.channels), dead)
    if not alive.size:
        raise MeasurementError(f"{dataset.name}: none of {dataset.channels} channels shows any noise")
    living = noise_model(windows[alive], dataset.noise_dwell_time) if dead else noise
    return ReceivedScan(
        images=scan.channel_images,
        whitened=apply_channels(living.whitening(dataset.dwell_time), scan.channel_images[alive]),
        noise_gain=float(scan.noise_gain),
        noise=noise,
        faults=tuple(fault.text for fault in find_faults(noise)),
        is_radial=dataset.trajectory is not None,
    )
