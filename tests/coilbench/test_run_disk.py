"""A disk that refuses, and raw data that break off: one message, and all that is whole is still used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nibabel
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The command line in a process whose files may not become larger than this many bytes.
LIMITED = """
import resource, signal, sys
from coilbench.cli import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, 12_000_000))
main()
"""


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Yield a small file system for the runs; only the administrator may mount one."""
    folder = tmp_path / "runs"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("mounting a small file system needs Linux and root")
    mounting = [mount, "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("this system does not let root mount")
    try:
        yield folder
    finally:
        subprocess.run([umount, "-l", str(folder)], check=True)


#: Of the small run, in 10^6 bytes: Touchstone 4.7 and 1.5, sequence 0.2, stream 32.8, HDF5 32.9.
@pytest.mark.parametrize(
    ("small_disk", "refused", "acquired"),
    [(4, "before", 0), (20, "raw.mrd", 64), (48, "raw.h5", 864)],
    indirect=["small_disk"],
)
def test_a_full_disk_is_named_and_what_was_acquired_stays(
    small_disk, bench, start, messages, read_whole, refused: str, acquired: int
) -> None:
    assert small_disk == bench.runs
    code, out, err = start(bench).end()
    assert code == 3
    assert bench.is_safe
    assert out == ""
    assert "Traceback" not in err
    first, second = messages(err)
    assert str(bench.folder / refused) in first
    assert "No space left on device" in first
    assert "ree s" in first  # free some space, or: Free space
    assert not (bench.folder / "record.json").exists()
    if acquired:
        assert f"safe in {bench.folder}" in second
        number, finished = read_whole(bench.folder / "raw.mrd")
        assert number == 864 if finished else acquired < number < 864
        assert finished is (acquired == 864)
    else:
        assert "nothing had been acquired yet" in second


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_file_that_may_not_grow_ends_the_scan_likewise(bench, start, messages, read_whole) -> None:
    code, _, err = start(bench, script=(sys.executable, "-c", LIMITED)).end()
    assert code == 3
    assert bench.is_safe
    assert "Traceback" not in err
    first, second = messages(err)
    assert "File too large" in first
    assert "coilbench recon" in second
    number, finished = read_whole(bench.folder / "raw.mrd")
    assert number > 0
    assert not finished


def test_a_folder_that_cannot_be_made_is_one_sentence_before_anything_moves(bench, run_here) -> None:
    bench.runs.write_text("a file where the folder should be", encoding="utf-8")
    failure = run_here("run", bench.path, "--runs", bench.runs)
    assert failure.code == 3
    (only,) = failure.lines
    assert str(bench.runs) in only
    assert "--runs" in only


@pytest.fixture
def broken_off(finished, tmp_path: Path) -> Path:
    """Return a run folder whose scan was cut in the middle of a spoke, index included as it was."""
    for name in ("raw.mrd", "raw.idx"):
        shutil.copy(finished.outcome.folder / name, tmp_path / name)
    size = (tmp_path / "raw.mrd").stat().st_size
    os.truncate(tmp_path / "raw.mrd", size * 3 // 4 + 1)
    return tmp_path


def test_a_stream_that_breaks_off_is_reconstructed_as_far_as_it_is_whole(
    broken_off, run_here, read_whole
) -> None:
    number, _ = read_whole(broken_off / "raw.mrd")
    done = run_here("recon", broken_off, "--json")
    assert done.code == 0
    summary = json.loads(done.out)
    image: Any = nibabel.load(broken_off / "recon.nii.gz")
    assert image.shape == (32, 32, 32)
    assert summary["channels"] == 8
    assert str(number) in summary["notes"]


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"<html>not found</html>", bytes(range(256)) * 40])
def test_a_file_that_is_no_stream_is_one_sentence(tmp_path: Path, run_here, content: bytes) -> None:
    path = tmp_path / "raw.mrd"
    path.write_bytes(content)
    failure = run_here("recon", path)
    assert failure.code == 3
    (only,) = failure.lines
    assert str(path) in only


def test_a_folder_without_data_says_what_was_expected(tmp_path: Path, run_here) -> None:
    failure = run_here("recon", tmp_path)
    assert failure.code == 3
    (only,) = failure.lines
    assert "raw.mrd" in only
