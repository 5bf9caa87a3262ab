"""Objects of known size in slices: where they lie, how wide they are, what is left of their middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError
from recon.dicom import read_volumes
from recon.grid import Grid
from recon.outline import central_part, disk_of, extents, object_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Slices of unequal voxels.
GRID = Grid((1, 200, 180), (5e-3, 0.2, 0.27))


def ellipse(half_x: float, half_y: float, *, centre: tuple[float, float] = (3e-3, -2e-3)) -> NDArray[Any]:
    """Return a shaded ellipse averaged over voxels: exactly along x, over 32 rows in each voxel along y."""
    _, y, x = GRID.axes()
    dy, dx = GRID.spacing[1:]
    fine = (y[:, None] + dy * (np.arange(32) - 15.5) / 32).ravel()[:, None] - centre[1]
    half = half_x * np.sqrt(np.maximum(1 - (fine / half_y) ** 2, 0))
    covered = np.minimum(centre[0] + half, x + dx / 2) - np.maximum(centre[0] - half, x - dx / 2)
    share = np.clip(covered / dx, 0, 1).reshape(200, 32, 180).mean(axis=1)
    return np.asarray(100.0 * share * (1 + 2 * x))


def test_extents_of_shaded_ellipses_are_right_within_their_uncertainty() -> None:
    """13 sizes, two axes: errors are within 3 u each, and about one u on the root mean square."""
    rng = np.random.default_rng(3)
    pulls = []
    for number in range(13):
        half_x, half_y = 0.07 + 3.1e-4 * number, 0.05 + 2.3e-4 * number
        image = ellipse(half_x, half_y) + rng.standard_normal((200, 180))
        found = extents(image, object_mask(image), GRID)
        truth = (2 * half_x, 2 * half_y)
        pulls += [(one.length - size) / one.uncertainty for one, size in zip(found, truth, strict=True)]
    assert max(np.abs(pulls)) < 3
    assert 0.3 < np.sqrt(np.mean(np.square(pulls))) < 1.5


def test_the_middle_and_the_area_are_those_of_the_object() -> None:
    """A hole in the object is filled: a vial without signal belongs to it."""
    image = ellipse(0.06, 0.06)
    image[95:99, 90:93] = 0.0
    (x, y, _), radius = disk_of(object_mask(image), GRID)
    # half a voxel of the walls cannot be told: 0.2 of the level counts as inside
    assert (x, y) == pytest.approx((3e-3, -2e-3), abs=2e-4)
    assert radius == pytest.approx(0.06, abs=0.75e-3)


def test_the_central_part_keeps_its_share_and_stays_away_from_every_side() -> None:
    """The inner square of half side a (1 - d) holds (1 - d)² of a square: 80 % lie deeper than 0.106 a."""
    mask = np.zeros((200, 180), dtype=np.bool_)
    mask[40:160, 30:110] = True  # 120 mm by 120 mm
    kept = central_part(mask, GRID, 0.8)
    assert kept.sum() / mask.sum() == pytest.approx(0.8, abs=0.03)
    rows, columns = np.nonzero(kept)
    for edge in (rows.min() - 39, 160 - rows.max(), 1.5 * (columns.min() - 29), 1.5 * (110 - columns.max())):
        assert edge == pytest.approx(0.106 * 60, abs=1.5)


def test_nothing_and_an_object_beyond_the_border_are_refused() -> None:
    with pytest.raises(MeasurementError, match="no phantom can be told"):
        object_mask(np.ones((40, 50)))
    image = ellipse(0.06, 0.06)[:, 70:]
    with pytest.raises(MeasurementError, match="wholly inside the image"):
        extents(image, object_mask(image), Grid((1, 200, 110), (5e-3, 0.2, 0.165)))


def test_the_same_phantom_scanned_twice_has_the_same_size(shared_data: Path) -> None:
    """Hazen's MagNET pairs, 1 mm voxels: repeated scans agree to 0.1 mm."""
    for maker in ("ge", "philips"):
        lengths = []
        for path in sorted((shared_data / "phantom_dicom" / maker).iterdir()):
            (volume,) = read_volumes(path)
            image = volume.image[0]
            lengths.append([one.length for one in extents(image, object_mask(image), volume.grid)])
        assert lengths[0] == pytest.approx(lengths[1], abs=1e-4)
        assert all(0.17 < length < 0.20 for length in lengths[0])
