"""`coilbench recon` on a run of the simulated bench: every method and correction, from k-space to NIfTI."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import h5py
import nibabel as nib
import numpy as np
import pytest

from coilbench.bench_file import read_bench_file
from coilbench.procedures.quantify import phantom_model
from coilbench.scan_file import read_scan_file
from hil_fixtures.physics.geometry import overlapped_array
from hil_fixtures.physics.kspace import receive_field
from recon.combine import snr_units
from recon.nifti import write_nifti
from recon.recipe import Recipe, reconstruct_by
from recon.regions import background_mask
from recon.sensitivities import fit_predicted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from recon.phantom import Phantom

#: Hz that a stored scan is turned by.
FREQUENCY = 300.0
#: s that the header's gradients are made to start too early.
LATE = 4e-6


@pytest.fixture
def image(run, record, tmp_path) -> Callable[..., tuple[NDArray[np.float64], str]]:
    """Return what reconstructs with the words given, to an image (z, y, x) and its notes."""

    def reconstruct(*words: object, scan: Path = run) -> tuple[NDArray[np.float64], str]:
        found = record("recon", scan, "--out", tmp_path / "image.nii.gz", *words)
        assert found["exit"] == 0, found
        values = np.asarray(nib.load(tmp_path / "image.nii.gz").get_fdata())
        return values.transpose(2, 1, 0), found["notes"]

    return reconstruct


@pytest.fixture(scope="module")
def phantom(run) -> Phantom:
    return phantom_model(read_bench_file(run / "bench.toml"))


@pytest.fixture(scope="module")
def grid(run) -> Any:
    return read_scan_file(run, []).grid


@pytest.fixture(scope="module")
def bath(grid, phantom) -> NDArray[np.bool_]:
    """Voxels that no wall disturbs."""
    return background_mask(grid, phantom)


def edited(run: Path, folder: Path, change: Callable[[h5py.Group], None]) -> Path:
    """Return a copy of a run whose MRD file was changed."""
    copy = folder / "edited"
    shutil.copytree(run, copy)
    with h5py.File(copy / "raw.h5", "r+") as file:
        change(file["dataset"])
    return copy


def relative(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--filter", "hamming"),
        ("--method", "cg-sense"),
        ("--method", "cg-sense", "--channels", "4", "--iterations", "4"),
        ("--method", "tv", "--strength", "2"),
        ("--method", "wavelet"),
        ("--sensitivities", "walsh"),
        ("--method", "cg-sense", "--sensitivities", "espirit"),
    ],
)
def test_every_method_shows_the_strongest_vial(image, grid, phantom, words) -> None:
    """Of 145 mmol/L in a bath of 30: its core is three times the noise of the corners, twice the bath."""
    found, _ = image(*words)
    strongest = max(phantom.vials, key=lambda vial: vial.concentration or 0.0)
    core = np.median(found[grid.distances(strongest.centre) < 0.010])
    assert core > 3 * np.median(found[:3, :3, :3])
    assert core > 2 * np.median(found[background_mask(grid, phantom)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "cg-sense", "--filter", "hamming"), "a filter belongs to gridding"),
        (("--method", "anatomical"), "needs an anatomical image"),
        (("--strength", "2"), "belongs to tv"),
        (("--plot", "a.bmp"), ".svg or .png"),
        (("--dicom", "Anna"), "no name of a phantom"),
        (("--sensitivities", "nowhere"), "low-resolution, walsh, espirit, predicted, or the folder"),
    ],
)
def test_wishes_that_do_not_fit_are_refused_with_a_sentence(run, run_here, tmp_path, words, said) -> None:
    done = run_here("recon", run, "--out", tmp_path / "a.nii.gz", *words)
    assert done.code == 3
    assert said in done.text


# --- sensitivities


def test_predicted_sensitivities_are_those_of_the_world(image, run, grid, bath) -> None:
    """The drawing's loops combine to the image of the world's own conductors, within 1e-3 of its noise.

    Written apart, with the world's sense of rotation: of the wrong sense the fit leaves 1.29 times the noise.
    Mixing, whitening and receivers are fitted both times. The default sensitivities, which know only the
    images, follow their noise: a quarter of it, here.
    """
    dataset = read_scan_file(run, [])
    gridded = reconstruct_by(Recipe(filter_window="hamming"), dataset)
    positions = grid.positions()
    near = np.hypot(positions[..., 0], positions[..., 1]) < 0.11
    fields = np.zeros((8, *grid.shape), dtype=np.complex128)
    array = overlapped_array()
    for loop in range(8):
        fields[loop, near] = receive_field(array, loop, positions[near])
    maps = fit_predicted(gridded.channel_images, fields, bath).evaluate(fields)
    truth = snr_units(gridded.channel_images, maps, gridded.noise_gain)
    ball = grid.distances((0, 0, 0)) < 0.075
    predicted, notes = image("--filter", "hamming", "--sensitivities", "predicted")
    assert np.sqrt(np.mean((predicted - truth)[ball] ** 2)) < 1e-3
    default, _ = image("--filter", "hamming")
    assert np.sqrt(np.mean((default - truth)[ball] ** 2)) < 0.35
    left = float(notes.split("the fit leaves ")[1].split()[0])
    # 2363 voxels, about a quarter independent with the window, of two parts: 3 % at 95 %, on each channel
    assert 0.95 < left < 1.05


def test_predicted_sensitivities_take_the_shading_out(image, grid, bath) -> None:
    """The bath is 1 within 4 %, inner and outer alike; without, the outer is 40 % brighter than the inner.

    Of the 4 %, 2 to 3 are the noise floor of a magnitude at an SNR of 4.5 to 6 (1 / (2 SNR²)); the rest is
    ringing, below 2 % so far from the walls.
    """
    distance = grid.distances((0, 0, 0))
    inner, outer = bath & (distance < 0.035), bath & (distance > 0.055)
    even, _ = image("--method", "cg-sense", "--iterations", "5", "--sensitivities", "predicted")
    shaded, _ = image("--method", "cg-sense", "--iterations", "5")
    assert even[inner].mean() == pytest.approx(1, abs=0.045)
    assert even[outer].mean() == pytest.approx(1, abs=0.045)
    assert shaded[outer].mean() > 1.3 * shaded[inner].mean()


def test_sensitivities_measured_in_a_phantom_make_the_same_image(image, run, grid) -> None:
    """The run's own bath, 53 terms a channel, beside the 8 numbers of the drawing, also on virtual channels.

    A voxel's image changes by the noise of its sensitivities: about sqrt(53 / 2363) = 0.15 of its own where
    the fit is free, times sqrt(8) channels less the one that counts: below half its noise.
    """
    ball = grid.distances((0, 0, 0)) < 0.07
    predicted, _ = image("--sensitivities", "predicted")
    measured, notes = image("--sensitivities", run)
    assert "measured in the bath of" in notes
    assert np.sqrt(np.mean((measured - predicted)[ball] ** 2)) < 0.5
    assert np.all(measured[grid.distances((0, 0, 0)) > 0.081] == 0)
    all_channels, _ = image("--method", "cg-sense", "--sensitivities", run)
    virtual, _ = image("--method", "cg-sense", "--sensitivities", run, "--channels", "8")
    assert relative(virtual[ball], all_channels[ball]) < 1e-3


def test_a_prediction_without_geometry_is_refused_by_one_sentence(
    run, run_here, tmp_path, shared_data
) -> None:
    copy = edited(run, tmp_path, lambda _scan: None)
    text = (copy / "bench.toml").read_text(encoding="utf-8")
    begin, end = text.index("[array.geometry]"), text.index("[array.drawing]")
    (copy / "bench.toml").write_text(text[:begin] + text[end:], encoding="utf-8")
    for scan, said in (
        (copy, "[array.geometry]"),
        (shared_data / "kspace_16ch" / "kspace16ch.npz", "run folder"),
    ):
        done = run_here("recon", scan, "--out", tmp_path / "a.nii.gz", "--sensitivities", "predicted")
        assert done.code == 3
        assert done.text.count("--sensitivities predicted needs") == 1
        assert said in done.text
        assert len(done.lines) == 1


# --- the 1H image of the same array


def proton_image(path: Path, phantom: Phantom) -> None:
    """Write the phantom as 1H shows it: vials half as bright as the bath, on a finer grid of its own.

    Voxels of 2.5 x 2.8 x 3 mm in the scanner's LPS order (x and y run backwards), noise of 2 % (seed 6).
    """
    spacing, shape = np.array([2.5, 2.8, 3.0]), (80, 75, 70)
    affine = np.diag([*(np.array([-1.0, -1.0, 1.0]) * spacing), 1.0])
    affine[:3, 3] = np.array([1.0, 1.0, -1.0]) * spacing * (np.array(shape) - 1) / 2
    numbers = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = 1e-3 * (numbers @ affine[:3, :3].T + affine[:3, 3])
    values = (np.linalg.norm(places, axis=-1) < phantom.radius).astype(float)
    for vial in phantom.vials:
        values[np.linalg.norm(places - np.array(vial.centre), axis=-1) < vial.radius] = 0.5
    values = np.abs(values + 0.02 * np.random.default_rng(6).standard_normal(shape))
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)


def test_the_proton_image_of_the_same_array_quiets_the_bath_and_keeps_vials(
    image, grid, bath, phantom, tmp_path
) -> None:
    """Smoothed over two voxels within tissues: less than half the noise, contrasts of vials within 10 %.

    Turned round, its edges lie elsewhere and blur the vials: the brightest loses more than 20 %.
    """
    proton_image(tmp_path / "proton.nii.gz", phantom)
    turned = nib.load(tmp_path / "proton.nii.gz")
    flipped = nib.Nifti1Image(np.asarray(turned.dataobj)[::-1, :, ::-1], turned.affine)
    nib.save(flipped, tmp_path / "turned.nii.gz")
    maps = ("--sensitivities", "predicted")
    plain, _ = image("--method", "cg-sense", *maps)
    words = ("--method", "anatomical", "--strength", "2", *maps)
    found, notes = image(*words, "--anatomy", tmp_path / "proton.nii.gz")
    wrong, _ = image(*words, "--anatomy", tmp_path / "turned.nii.gz")
    assert "anatomically weighted, smoothed over 12.5 mm within tissues" in notes
    assert found[bath].std() < 0.5 * plain[bath].std()
    brightest = max(phantom.vials, key=lambda vial: vial.concentration or 0.0)
    core = grid.distances(brightest.centre) < 0.010
    contrasts = [values[core].mean() / values[bath].mean() for values in (plain, found, wrong)]
    assert contrasts[1] == pytest.approx(contrasts[0], rel=0.1)
    assert contrasts[2] < 0.8 * contrasts[0]


def test_an_image_of_another_place_is_no_anatomy(run, run_here, tmp_path, phantom) -> None:
    proton_image(tmp_path / "proton.nii.gz", phantom)
    image = nib.load(tmp_path / "proton.nii.gz")
    image.affine[0, 3] += 500.0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), tmp_path / "far.nii.gz")
    words = ("--method", "anatomical", "--anatomy", tmp_path / "far.nii.gz")
    done = run_here("recon", run, "--out", tmp_path / "a.nii.gz", *words)
    assert done.code == 3
    assert "shows another place" in done.text


# --- field and gradients


def test_a_field_map_undoes_its_field(image, run, grid, tmp_path) -> None:
    """A scan turned by 300 Hz has the plain scan's image with the map, to the 1e-3 of the time segments.

    Without the map, and with the opposite one, 1.5 turns over the readout blur it thirty times as much.
    Fields that change from place to place: ``tests/recon/test_recon_field.py``.
    """
    dataset = read_scan_file(run, [])
    turn = np.exp(2j * np.pi * FREQUENCY * (dataset.spoke.times + dataset.spoke.echo_time))

    def turned(scan: h5py.Group) -> None:
        rows = scan["data"][:]
        for row in rows:
            if row["traj"].size:
                samples = row["data"].view(np.complex64).reshape(8, -1) * turn
                row["data"] = samples.astype(np.complex64).ravel().view(np.float32)
        scan["data"][:] = rows

    write_nifti(tmp_path / "field.nii.gz", np.full(grid.shape, FREQUENCY), grid)
    write_nifti(tmp_path / "opposite.nii.gz", np.full(grid.shape, -FREQUENCY), grid)
    scan = edited(run, tmp_path, turned)
    words = ("--filter", "hamming", "--sensitivities", "predicted")
    truth, _ = image(*words)
    mapped, notes = image(*words, "--field-map", tmp_path / "field.nii.gz", scan=scan)
    opposite, _ = image(*words, "--field-map", tmp_path / "opposite.nii.gz", scan=scan)
    blurred, _ = image(*words, scan=scan)
    ball = grid.distances((0, 0, 0)) < 0.075
    assert "field of 300.0 to 300.0 Hz" in notes
    assert relative(mapped[ball], truth[ball]) < 2e-3
    assert 0.06 < relative(blurred[ball], truth[ball]) < relative(opposite[ball], truth[ball])


def test_a_field_map_needs_to_know_when_samples_were_taken(run_here, shared_data, tmp_path) -> None:
    scan = shared_data / "radial_129xe" / "demo_radial_mri_data.mat"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "field.nii.gz")
    done = run_here("recon", scan, "--out", tmp_path / "a.nii.gz", "--field-map", tmp_path / "field.nii.gz")
    assert done.code == 3
    assert "does not say when its samples were taken" in done.text


def test_late_gradients_are_found_and_corrected(image, run, tmp_path) -> None:
    """A header whose gradients start 4 us too early: x and y are found late by that, within what is stated.

    The array sees nothing uneven along z, so z is hardly known, and it says so. The trajectory that is stored
    with the samples is the true one; corrected, x and y come back to it.
    """

    def early(scan: h5py.Group) -> None:
        text = scan["xml"][0].decode()
        name = "<name>gradientStart_s</name>"
        begin = text.index("<value>", text.index(name)) + len("<value>")
        end = text.index("</value>", begin)
        scan["xml"][0] = text[:begin] + repr(float(text[begin:end]) - LATE) + text[end:]

    _, notes = image("--correct-delays", scan=edited(run, tmp_path, early))
    words = notes.split("by the gradient's design: ")[1].split("; ")[0]
    found = {part.split()[0]: [float(part.split()[1]), float(part.split()[3])] for part in words.split(", ")}
    assert set(found) == {"x", "y", "z"}
    for axis in "xy":
        delay, expanded = found[axis]
        assert expanded < 1.0
        assert delay == pytest.approx(1e6 * LATE, abs=1.5 * expanded)
    assert found["z"][1] > 3 * found["x"][1]


def test_gradients_in_time_are_left_alone(image) -> None:
    """Delays that cannot be told from 0 are not corrected: the image is the uncorrected one."""
    plain, _ = image()
    found, notes = image("--correct-delays")
    assert notes.count("(left: not told from 0)") == 3
    assert relative(found, plain) < 1e-3
