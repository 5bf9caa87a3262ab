"""What a run folder knows for a reconstruction: sensitivities by drawing or phantom, the object's size.

Sensitivities need the phantom of the bench file, lying as described to within a resolution and a half: only
voxels that far from every wall are fitted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.array_geometry import loops_of
from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.procedures.quantify import phantom_model
from coilbench.scan_file import read_scan_file
from coilbench.stored_run import is_run, open_run
from coils.magnetics.field import magnetic_field, receive_field
from recon.recipe import Recipe, reconstruct_by
from recon.regions import background_mask
from recon.sensitivities import (
    IMAGE_METHODS,
    FromDrawing,
    FromImages,
    FromPhantom,
    SensitivitySource,
    fit_harmonics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from coilbench.bench_file import BenchFile
    from coilbench.stored_run import StoredRun
    from recon.grid import Grid

#: What asks for sensitivities from the drawing.
PREDICTED: Final = "predicted"
#: m by which a phantom may lie off its place: as far as its registration searches for it.
_PLACEMENT: Final = 0.015


def sensitivities_named(words: str, data: Path, /) -> SensitivitySource:
    """Return where sensitivities come from, by what a person asks for.

    Parameters
    ----------
    words
        ``"low-resolution"``, ``"walsh"``, ``"espirit"``, ``"predicted"``, or the run folder of a phantom.
    data
        What shall be reconstructed.

    Raises
    ------
    BenchFileError
        It is none of these, or the bench file has no geometry for a prediction.
    MeasurementError
        The phantom's scan cannot be fitted.
    """
    for method in IMAGE_METHODS:
        if words == method:
            return FromImages(method)
    if words == PREDICTED:
        if not is_run(data):
            raise BenchFileError(
                f"--sensitivities {PREDICTED} needs a run folder: its bench file says how the loops lie and "
                f"where the phantom is; {data} is none"
            )
        return drawn_sensitivities(open_run(data).file)
    if is_run(Path(words)):
        return phantom_sensitivities(open_run(Path(words)))
    raise BenchFileError(
        f"--sensitivities takes {', '.join(IMAGE_METHODS)}, {PREDICTED}, or the folder of a run with a "
        f"phantom whose bath is uniform; got {words!r}"
    )


def drawn_sensitivities(file: BenchFile, /) -> FromDrawing:
    """Return sensitivities by Biot-Savart's law from the loops of a bench file.

    Raises
    ------
    BenchFileError
        The bench file does not say how the loops lie.
    """
    loops, geometry = loops_of(file), file.array.geometry
    if loops is None or geometry is None:
        raise BenchFileError(
            f"--sensitivities {PREDICTED} needs to know how the loops lie: the bench file has no "
            "[array.geometry] with radius, height and strip_width"
        )
    # between the conductors the field depends on their section, and there is nothing to see
    limit = geometry.radius - geometry.strip_width

    def fields(positions: NDArray[np.float64]) -> NDArray[np.complex128]:
        inside = np.hypot(positions[..., 0], positions[..., 1]) < limit
        found = np.zeros((len(loops), *inside.shape), dtype=np.complex128)
        # A faster spin turns counter-clockwise in our data, the phasors' B1- clockwise.
        found[:, inside] = receive_field(magnetic_field(loops, positions[inside])).conj()
        return found

    return FromDrawing(fields, _bath(file))


def phantom_sensitivities(run: StoredRun, /) -> FromPhantom:
    """Return sensitivities measured in the bath of a run's phantom, as the receivers see them.

    Raises
    ------
    MeasurementError
        There is no noise scan, or the bath has too few voxels.
    """
    dataset = read_scan_file(run.folder, [])
    images = reconstruct_by(Recipe(filter_window="hamming"), dataset)
    if images.noise is None:
        raise MeasurementError(
            f"{run.name} holds no noise scan: its sensitivities cannot be told from its receivers'"
        )
    phantom = phantom_model(run.file)
    fit = fit_harmonics(
        images.channel_images,
        dataset.grid.positions(),
        _bath(run.file)(dataset.grid),
        centre=phantom.centre,
        radius=phantom.radius,
    )
    received = np.linalg.solve(images.noise.whitening(dataset.dwell_time), fit.coefficients.T).T
    return FromPhantom(replace(fit, coefficients=np.asarray(received, dtype=np.complex128)), run.name)


def object_radius(data: Path, /) -> float:
    """Return the radius in m of a ball about the centre that holds the object; infinite where unknown."""
    return open_run(data).file.phantom.radius + _PLACEMENT if is_run(data) else np.inf


def _bath(file: BenchFile) -> Callable[[Grid], NDArray[np.bool_]]:
    phantom = phantom_model(file)
    return lambda grid: background_mask(grid, phantom)
