"""qc and report on data that no run of ours made: known objects, real pairs, raw data of a faulty channel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ismrmrd
import nibabel as nib
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

#: A slice of 120 lines of 128 samples, 240 mm by 256 mm, of four channels.
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions><H1resonanceFrequency_Hz>63866217</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace><matrixSize><x>128</x><y>120</y><z>1</z></matrixSize>
<fieldOfView_mm><x>256</x><y>240</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>128</x><y>120</y><z>1</z></matrixSize>
<fieldOfView_mm><x>256</x><y>240</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits/><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


@pytest.fixture
def record(run_here) -> Callable[..., dict[str, Any]]:
    """Return what runs a command with --json and gives its object and its exit code."""

    def read(*words: object) -> dict[str, Any]:
        done = run_here(*words, "--json")
        return {**json.loads(done.out), "exit": done.code}

    return read


def numbers(found: dict[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Return value and standard uncertainty of everything without a place."""
    return {
        one["name"]: (one["value"], one["uncertainty"]) for one in found["quantities"] if not one["place"]
    }


def disk(shape: tuple[int, int], spacing: tuple[float, float], radius: float) -> NDArray[np.float64]:
    """Return a uniform disk of signal 100 averaged over voxels, shape (y, x); lengths in mm."""
    axes = []
    for count, step in zip(shape, spacing, strict=True):
        fine = (np.arange(count)[:, None] - count / 2 + (np.arange(8) + 0.5) / 8) * step
        axes.append(fine.ravel())
    inside = np.hypot(axes[1][None], axes[0][:, None]) <= radius
    return 100.0 * inside.reshape(shape[0], 8, shape[1], 8).mean(axis=(1, 3))


def write_pair(folder: Path, image: NDArray[np.float64], deviation: float) -> tuple[Path, Path]:
    """Write the magnitude of an image twice with noise of its own, voxels of 1.5 × 1.2 × 5 mm (x, y, z)."""
    rng = np.random.default_rng(5)
    paths = folder / "a.nii", folder / "b.nii"
    for path in paths:
        noise = deviation * rng.standard_normal((2, *image.shape))
        noisy = np.abs(image + noise[0] + 1j * noise[1]).T[:, :, None].astype(np.float32)
        nib.save(nib.Nifti1Image(noisy, np.diag([1.5, 1.2, 5.0, 1.0])), path)
    return paths


def write_mrd(path: Path, gains: tuple[complex, ...], *, seed: int) -> Path:
    """Write a disk of 90 mm seen by four channels as MRD HDF5, the noise scan first.

    Every channel multiplies its own signal and noise by its gain.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-59.5:60, -63.5:64] * 2.0
    ball = disk((120, 128), (2.0, 2.0), 90.0)
    angles = np.arange(4) * np.pi / 2
    images = np.stack(
        [0.3 * ball * np.exp((x * np.cos(a) + y * np.sin(a)) / 150) * np.exp(1j * a) for a in angles]
    )
    samples = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    mixing = np.linalg.cholesky(0.2 * np.ones((4, 4)) + 0.8 * np.eye(4))

    def noise(width: int) -> NDArray[np.complex128]:
        return mixing @ (rng.standard_normal((4, width)) + 1j * rng.standard_normal((4, width)))

    scale = np.array(gains)[:, None]
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(HEADER.encode())
    for _ in range(60):
        window = ismrmrd.Acquisition.from_array((scale * noise(128)).astype(np.complex64))
        window.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        window.sample_time_us = 10.0
        dataset.append_acquisition(window)
    for number in range(120):
        line = (scale * (samples[:, number] + noise(128))).astype(np.complex64)
        acquisition = ismrmrd.Acquisition.from_array(line)
        acquisition.idx.kspace_encode_step_1 = number
        acquisition.sample_time_us = 10.0
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


def test_a_uniform_disk_in_noise_is_uniform_and_as_wide_as_it_is(record, tmp_path) -> None:
    """Noise lowers the plain PIU of a uniform disk of 140 mm; corrected it is 100 % within U."""
    pair = write_pair(tmp_path, disk((150, 128), (1.2, 1.5), 70.0), 12.0)
    found = record("qc", *pair)
    values = numbers(found)
    corrected, spread = values["uniformity, noise-corrected"]
    assert corrected == pytest.approx(100.0, abs=2 * spread + 1e-9)
    assert values["uniformity, as it is"][0] < 98
    # the plain PIU of noise alone scatters by some 0.5 of its own shortfall of 5 %
    assert values["uniformity, as it is"][0] == pytest.approx(values["uniformity of noise alone"][0], abs=2.5)
    for axis in ("columns", "rows"):
        length, u = values[f"extent along {axis}"]
        assert length == pytest.approx(140.0, abs=3 * u)
    assert found["exit"] == 0


def test_a_ghost_of_6_percent_fails_and_is_measured(record, tmp_path) -> None:
    """A level of 6 % above and below the object and none beside it: (6 + 6 - 0 - 0) / (2 × 100) is 6 %."""
    image = disk((150, 128), (1.2, 1.5), 60.0)
    image[:21] = image[-21:] = 6.0  # |y| beyond 65 mm; the regions lie at 75 ± 9 mm
    found = record("qc", *write_pair(tmp_path, image, 0.3))
    value, u = numbers(found)["signal ghosting"]
    # the magnitude of pure noise beside it is 1.25 of its deviation
    assert value == pytest.approx(6.0 - 1.25 * 0.3, abs=0.05 + 3 * u)
    assert found["verdict"] == "fail"
    assert found["exit"] == 1


def test_a_single_image_states_what_it_can_and_names_the_rest(record, tmp_path) -> None:
    path, _ = write_pair(tmp_path, disk((150, 128), (1.2, 1.5), 70.0), 2.0)
    found = record("qc", path)
    assert {"SNR", "uniformity, as it is", "signal ghosting"} <= set(numbers(found))
    assert "uniformity, noise-corrected" not in numbers(found)
    assert any("second scan" in line for line in found["statements"])
    assert any("no baseline" in line for line in found["statements"])


def test_real_pairs_agree_with_the_snr_command_and_with_each_other(record, shared_data) -> None:
    """Hazen's MagNET pairs: the same SNR as `coilbench snr`; held against its twin, nothing has changed."""
    for maker in ("ge", "philips"):
        first, second = sorted((shared_data / "phantom_dicom" / maker).iterdir())
        found = record("qc", first, second)
        assert numbers(found)["SNR"][0] == record("snr", first, second)["snr"]
        twin = record("qc", second, "--baseline", first)
        changes = {one["name"]: one["verdict"] for one in twin["judged"] if "change" in one["name"]}
        assert changes == {
            "SNR, change": "pass",
            "extent along columns, change": "pass",
            "extent along rows, change": "pass",
        }
        assert twin["exit"] == 0


def test_the_16_channel_scan_has_sound_receivers(record, shared_data) -> None:
    """Its file states no field of view: without one, nothing with a length is measured; with one, it is."""
    path = shared_data / "kspace_16ch" / "kspace16ch.npz"
    found = record("qc", path)
    assert {"name": "channels with a noise fault", "value": 0}.items() <= found["judged"][0].items()
    assert numbers(found)["noise correlation, largest"][0] == pytest.approx(0.440, abs=1e-3)
    assert sum("no field of view" in line for line in found["statements"]) == 3
    given = numbers(record("qc", path, "--field-of-view", "220 mm"))
    assert given["uniformity, as it is"][0] < given["uniformity, noise-corrected"][0] < 100
    assert "extent along rows" in given


@pytest.mark.parametrize(
    ("gains", "named"),
    [
        ((1, 1, 1, 1), None),
        ((1, 1, 2, 1), "channel 3: "),
        ((1, -1, 1, 1), "channel 2: "),
        ((1, 1, 1, 0), "channel 4 shows no noise at all"),
    ],
)
def test_a_channel_that_changed_since_the_baseline_is_named(record, tmp_path, gains, named) -> None:
    """MRD of another program: gain doubled, sign turned, nothing connected; nothing of it in a sound one."""
    first = write_mrd(tmp_path / "first.h5", (1, 1, 1, 1), seed=2)
    now = write_mrd(tmp_path / "now.h5", gains, seed=3)
    found = record("qc", now, "--baseline", first)
    assert found["baseline"] == "first.h5"
    if named is None:
        assert found["exit"] == 0, [one["name"] for one in found["judged"] if one["verdict"] != "pass"]
        assert found["findings"] == []
    else:
        assert found["exit"] == 1
        assert found["statements"][0].startswith(named)


def test_limits_of_a_bench_file_judge_foreign_data(record, tmp_path, bench) -> None:
    """With a least uniformity of 99 % a disk of 80 % along x fails; by default uniformity is not judged."""
    image = disk((150, 128), (1.2, 1.5), 70.0) * (1 + np.linspace(-0.2, 0.2, 128))
    pair = write_pair(tmp_path, image, 0.5)
    assert record("qc", *pair)["exit"] == 0
    with bench.path.open("a", encoding="utf-8") as file:
        file.write('\n[qc]\nname = "strict"\nuniformity_minimum = 99\n')
    found = record("qc", *pair, "--bench", bench.path)
    assert found["exit"] == 1
    assert {one["name"]: one["limit"] for one in found["judged"]}["uniformity, noise-corrected"] == "≥ 99 %"


def test_the_report_on_foreign_data_is_one_page_with_its_picture(record, tmp_path) -> None:
    """Images and raw data; a hostile file name stays text."""
    pair = write_pair(tmp_path, disk((150, 128), (1.2, 1.5), 70.0), 1.0)
    named = tmp_path / "<b>evil<b>.nii"
    named.write_bytes(pair[0].read_bytes())
    found = record("report", named, pair[1], "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>evil" not in page
    assert "&lt;b&gt;evil" in page
    assert page.count("<svg") == 1
    assert found["report"].endswith("page.html")
    raw = write_mrd(tmp_path / "scan.h5", (1, 1, 1, 1), seed=2)
    assert record("report", raw)["exit"] == 0
    page = (tmp_path / "scan-report.html").read_text(encoding="utf-8")
    for words in ("Noise correlation", "Each channel", "extent along rows", "noise level"):
        assert words in page


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing.h5", "no such file"), ("flat.nii", "stand out of the background"), ("a.txt", "supported")],
)
def test_what_cannot_be_measured_is_said(run_here, tmp_path, name, said) -> None:
    nib.save(nib.Nifti1Image(np.ones((40, 50, 1), np.float32), np.eye(4)), tmp_path / "flat.nii")
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    done = run_here("qc", tmp_path / name)
    assert done.code == 3
    assert said in done.text


#: Of the phantom's scan, for data that do not say it.
SCAN = ("--repetition-time", "100 ms", "--echo-time", "0.21 ms", "--flip-angle", "90")


def test_the_raw_file_of_a_run_quantifies_as_the_run_does(record, finished, tmp_path) -> None:
    """Read as anybody's MRD with a phantom file: the run's own vials, but for the order of summation."""
    folder = finished.outcome.folder
    found = record(
        "tsc", folder / "raw.h5", "--phantom", folder.parents[1] / "bench.toml", "--out", tmp_path / "maps"
    )
    live = finished.measured.quantified.tsc
    for row, vial in zip(found["vials"], live.vials, strict=True):
        assert row["concentration_mmol_l"] == pytest.approx(vial.concentration, rel=1e-3)
        assert row["uncertainty_mmol_l"] == pytest.approx(vial.uncertainty, rel=1e-2)
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "tsc.nii.gz", "tsc_u_noise.nii.gz", "tsc_u_systematic.nii.gz",
    }  # fmt: skip
    assert found["exit"] == {"pass": 0, "marginal": 0, "fail": 1, "inconclusive": 2}[found["verdict"]]


def phantom_table(text: str) -> str:
    """Return the [phantom] of a bench file's text, and nothing else of it."""
    begin = text.index("[phantom]")
    return text[begin : text.index("[scan]")]


def drawn_phantom(path: Path, bench_path: Path, folder: Path) -> tuple[Path, dict[str, float]]:
    """Write a NIfTI of the bench file's phantom, 2.5 mm voxels, shifted by 7 mm; return it and the truth."""
    from coilbench.bench_file import read_bench_file

    described = read_bench_file(bench_path).phantom
    spacing, shift = 2.5e-3, np.array([7e-3, -4e-3, 2e-3])
    grid = np.stack(np.meshgrid(*(np.arange(-40, 40),) * 3, indexing="ij"), axis=-1) * spacing - shift

    def weight(name: str) -> float:
        made = described.materials[name]
        times = [(1.0, made.t2_long)]
        if made.t2_short is not None:
            times = [(made.short_fraction, made.t2_short), (1 - made.short_fraction, made.t2_long)]
        decay = sum(part * np.exp(-0.21e-3 / time) for part, time in times)
        return float((1 - np.exp(-0.1 / made.t1)) * decay)

    image = 30.0 * weight(described.background) * (np.linalg.norm(grid, axis=-1) < described.radius)
    for vial in described.vials:
        inside = np.linalg.norm(grid - np.array(vial.position), axis=-1) < vial.radius
        image[inside] = vial.concentration_mmol_l * weight(vial.material)
    image = image + np.random.default_rng(4).standard_normal(image.shape)
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = -40 * 2.5
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), path)
    table = folder / "phantom.toml"
    table.write_text(phantom_table(bench_path.read_text(encoding="utf-8")), encoding="utf-8")
    return table, {vial.name: vial.concentration_mmol_l for vial in described.vials}


def test_a_finished_image_is_quantified_with_a_phantom_file_alone(record, bench, tmp_path) -> None:
    """A NIfTI of known concentrations, its phantom 7 mm off the middle: check vials within 95 % of truth."""
    table, truth = drawn_phantom(tmp_path / "drawn.nii", bench.path, tmp_path)
    found = record("tsc", tmp_path / "drawn.nii", "--phantom", table, *SCAN, "--plot", tmp_path / "plots")
    for row in found["vials"]:
        # seven vials, 95 % each: 2.8 u hold all of them in 96 of 100 draws
        expected = pytest.approx(truth[row["vial"]], abs=2.8 * row["uncertainty_mmol_l"])
        assert row["concentration_mmol_l"] == expected
    assert "the phantom lies at (7.0, -4.0, 2.0) mm" in found["notes"]
    assert (tmp_path / "drawn-tsc" / "tsc.nii.gz").is_file()
    assert len(list((tmp_path / "plots").iterdir())) == 2
    values = np.asarray(nib.load(tmp_path / "drawn-tsc" / "tsc.nii.gz").get_fdata())
    assert np.median(values[38:46, 34:42, 38:44]) == pytest.approx(30, abs=15)


def test_the_report_with_a_described_phantom_holds_its_sodium(record, bench, tmp_path) -> None:
    """The verdict is of quality and vials together: a vial stated 20 mmol/L too high fails it."""
    table, truth = drawn_phantom(tmp_path / "drawn.nii", bench.path, tmp_path)
    plain = record("report", tmp_path / "drawn.nii")
    assert plain["sodium"] is None
    found = record("report", tmp_path / "drawn.nii", "--phantom", table, *SCAN)
    alone = record("tsc", tmp_path / "drawn.nii", "--phantom", table, *SCAN)
    assert found["sodium"]["vials"] == alone["vials"]
    assert [one["name"] for one in found["judged"]] == [
        one["name"] for one in (*plain["judged"], *alone["judged"])
    ]
    page = (tmp_path / "drawn-report.html").read_text(encoding="utf-8")
    for words in ("Total sodium concentration", "Line through the references", *truth):
        assert words in page
    wrong = table.read_text(encoding="utf-8").partition('name = "agar B"')
    table.write_text("".join((*wrong[:2], wrong[2].replace("l = 50", "l = 70", 1))), encoding="utf-8")
    found = record("report", tmp_path / "drawn.nii", "--phantom", table, *SCAN)
    assert (found["sodium"]["verdict"], found["verdict"], found["exit"]) == ("fail", "fail", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--phantom FILE"),
        (("--phantom", "phantom.toml"), "--repetition-time '100 ms', --echo-time '0.3 ms', --flip-angle 90"),
        (("--phantom", "wrong.toml", *SCAN), "wrong.toml:2: phantom.radiuss: unknown key"),
        (("--phantom", "phantom.toml", *SCAN, "--echo-time", "3 Hz"), "expected a number in s"),
    ],
)
def test_what_a_quantification_lacks_is_said(run_here, bench, tmp_path, monkeypatch, words, said) -> None:
    drawn_phantom(tmp_path / "drawn.nii", bench.path, tmp_path)
    text = (tmp_path / "phantom.toml").read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text(
        text.replace("[phantom]\n", "[phantom]\nradiuss = 3\n", 1), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    done = run_here("tsc", "drawn.nii", *words)
    assert done.code == 3
    assert said in done.text


def test_a_slice_and_cartesian_raw_data_are_no_phantom_scan(run_here, bench, shared_data) -> None:
    slice_ = shared_data / "phantom_dicom" / "ge" / "IM-0003-0001.dcm"
    done = run_here("tsc", slice_, "--phantom", bench.path)
    assert done.code == 3
    assert "a volume was expected" in done.text
    done = run_here("tsc", shared_data / "kspace_16ch" / "kspace16ch.npz", "--phantom", bench.path)
    assert done.code == 3
    assert "centre-out spokes with a noise scan were expected, this holds Cartesian k-space" in done.text


def test_options_of_the_other_kind_of_data_are_refused(run_here, shared_data, tmp_path) -> None:
    image = shared_data / "phantom_dicom" / "ge" / "IM-0003-0001.dcm"
    assert "--other-ports compares two run folders" in run_here("qc", image, "--other-ports", tmp_path).text
    (tmp_path / "bench.toml").write_text("", encoding="utf-8")
    assert "leave out --bench" in run_here("qc", tmp_path, "--field-of-view", "0.2 m").text
    for option, value in (("--phantom", image), ("--echo-time", "1 ms"), ("--flip-angle", "90")):
        refused = run_here("report", tmp_path, option, value)
        assert refused.code == 3
        assert "a run folder holds its own limits, phantom and timing" in refused.text
