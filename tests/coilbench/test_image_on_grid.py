"""Images of files on the voxels of a reconstruction: wherever the file's own voxels lie."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.image_on_grid import anatomy_on_grid, field_on_grid
from recon.grid import Grid
from recon.nifti import write_nifti

GRID = Grid((10, 12, 14), (0.10, 0.132, 0.126))
SHAPE = (50, 55, 48)


def oblique(path, function):
    """Write a function of (x, y, z) in m on voxels of 4 x 4.4 x 5 mm, turned and with x running backwards."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.2, -0.1, 0.3]).as_matrix() @ np.diag([-4.0, 4.4, 5.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    numbers = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    places = 1e-3 * (numbers @ affine[:3, :3].T + affine[:3, 3])
    nib.save(nib.Nifti1Image(function(places), affine), path)


def linear(places):
    return 3.0 + places @ np.array([100.0, -250.0, 40.0])


def test_a_linear_field_keeps_its_value_at_every_place(tmp_path):
    """Linear interpolation of a linear function is exact; the file holds doubles."""
    oblique(tmp_path / "field.nii", linear)
    np.testing.assert_allclose(
        field_on_grid(tmp_path / "field.nii", GRID), linear(GRID.positions()), atol=1e-4
    )


def test_an_image_of_the_reconstruction_comes_back_unchanged(tmp_path):
    values = np.random.default_rng(1).random(GRID.shape).astype(np.float32)
    write_nifti(tmp_path / "own.nii", values, GRID)
    np.testing.assert_allclose(anatomy_on_grid(tmp_path / "own.nii", GRID), values, atol=1e-5)
    np.testing.assert_allclose(field_on_grid(tmp_path / "own.nii", GRID), values, atol=1e-5)


def test_a_finer_image_is_averaged_over_each_voxel(tmp_path):
    """Two by three by four fine voxels lie in each voxel (z, y, x): the image is their mean."""
    parts = np.array([2, 3, 4])
    values = np.random.default_rng(2).random(np.array(GRID.shape) * parts)
    spacing, first = np.array(GRID.spacing), np.array([axis[0] for axis in GRID.axes()])
    affine = np.diag([*(1e3 * spacing / parts)[::-1], 1.0])
    affine[:3, 3] = 1e3 * (first + (0.5 / parts - 0.5) * spacing)[::-1]
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), affine), tmp_path / "fine.nii")
    split = values.reshape(10, 2, 12, 3, 14, 4)
    np.testing.assert_allclose(
        anatomy_on_grid(tmp_path / "fine.nii", GRID), split.mean(axis=(1, 3, 5)), atol=1e-3
    )


def test_beyond_its_edge_an_image_is_0_and_a_field_goes_on(tmp_path):
    small = Grid((10, 12, 6), (0.10, 0.132, 0.054))
    write_nifti(tmp_path / "small.nii", np.full(small.shape, 7.0), small)
    outside = np.abs(GRID.positions()[..., 0]) > 0.036
    assert np.all(anatomy_on_grid(tmp_path / "small.nii", GRID)[outside] == 0)
    np.testing.assert_allclose(field_on_grid(tmp_path / "small.nii", GRID), 7.0)


def test_other_places_and_other_files_are_refused(tmp_path):
    oblique(tmp_path / "far.nii", linear)
    image = nib.load(tmp_path / "far.nii")
    far = image.affine + np.array([[0, 0, 0, 400.0], [0] * 4, [0] * 4, [0] * 4])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), far), tmp_path / "far.nii.gz")
    with pytest.raises(MeasurementError, match="covers 0 % of the scan's field of view"):
        anatomy_on_grid(tmp_path / "far.nii.gz", GRID)
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(
        BenchFileError, match=r"three-dimensional image is expected, got shape \(3, 4, 5, 2\)"
    ):
        field_on_grid(tmp_path / "series.nii", GRID)
    (tmp_path / "text.nii").write_text("no image", encoding="utf-8")
    with pytest.raises(BenchFileError, match="cannot be read as NIfTI"):
        field_on_grid(tmp_path / "text.nii", GRID)
