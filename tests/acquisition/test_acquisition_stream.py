"""The raw record survives kills, cuts, full disks and damage, and says what happened."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
import zlib

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ismrmrd import xsd
from ismrmrd.serialization import ProtocolDeserializer

from acquisition.playback import StreamReader, read_stream
from acquisition.record import write_hdf5
from acquisition.stream import StreamWriter, index_path
from coilbench.base.errors import AcquisitionError, StorageError, TruncatedStream

#: The same file is cut and damaged many times; hypothesis must not mind that the folder is shared.
_many = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _header() -> xsd.ismrmrdHeader:
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=4, y=4, z=4), fieldOfView_mm=xsd.fieldOfViewMm(x=1.0, y=1.0, z=1.0)
    )
    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127732435),
        encoding=[
            xsd.encodingType(
                encodedSpace=space,
                reconSpace=space,
                encodingLimits=xsd.encodingLimitsType(),
                trajectory=xsd.trajectoryType.RADIAL,
            )
        ],
    )


def _acquisition(
    number: int, channels: int = 2, samples: int = 5, dimensions: int = 3
) -> ismrmrd.Acquisition:
    rng = np.random.default_rng(number)
    data = rng.standard_normal((channels, samples, 2)).astype(np.float32).view(np.complex64)[..., 0]
    trajectory = rng.standard_normal((samples, dimensions)).astype(np.float32)
    return ismrmrd.Acquisition.from_array(data, trajectory, scan_counter=number)


def _taken(path) -> tuple[list[ismrmrd.Acquisition], str]:
    """Return what a reader delivers and how it ended."""
    acquisitions: list[ismrmrd.Acquisition] = []
    try:
        acquisitions.extend(read_stream(path))
    except TruncatedStream:
        return acquisitions, "truncated"
    except AcquisitionError:
        return acquisitions, "damaged"
    return acquisitions, "complete"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a finished stream of four acquisitions, two of them noise, with its index."""
    path = tmp_path_factory.mktemp("recorded") / "raw.mrd"
    sent = [_acquisition(n, samples=3, dimensions=0 if n < 2 else 3) for n in range(4)]
    with StreamWriter(path, _header()) as writer:
        assert list(writer.record(iter(sent))) == sent
    return path, sent


@_many
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3)), min_size=0, max_size=6
    )
)
def test_round_trip(shapes, tmp_path):
    """Whatever the shapes: what was written comes back, and the other library reads the same."""
    path = tmp_path / "raw.mrd"
    for name in (path, index_path(path)):
        name.unlink(missing_ok=True)
    sent = [_acquisition(number, *shape) for number, shape in enumerate(shapes)]
    with StreamWriter(path, _header()) as writer:
        for acquisition in sent:
            writer.append(acquisition)
        writer.finish()
        writer.finish()
    assert _taken(path) == (sent, "complete")
    with ProtocolDeserializer(str(path)) as other:
        header, *rest = other.deserialize()
    assert rest == sent
    assert header == _header()


def test_every_cut_yields_exactly_the_whole_acquisitions(recorded, tmp_path):
    """Cut at every single byte: all acquisitions before the cut, no other, then TruncatedStream."""
    path, sent = recorded
    content = path.read_bytes()
    entries = [line.split() for line in index_path(path).read_text().splitlines()]
    ends = [int(offset) + int(length) for offset, length, *_ in entries]
    cut = tmp_path / "raw.mrd"
    shutil.copy(index_path(path), index_path(cut))
    for length in range(ends[0], len(content)):
        cut.write_bytes(content[:length])
        whole = sum(end <= length for end in ends[1:5])
        assert _taken(cut) == (sent[:whole], "truncated")
    for length in (0, 1, 5, ends[0] - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(TruncatedStream, match="after 0 whole"):
            StreamReader(cut)


def test_index_describes_every_message(recorded):
    """Offsets are contiguous, lengths and CRC-32 are those of the bytes, times rise."""
    path, sent = recorded
    content = path.read_bytes()
    lines = [line.split() for line in index_path(path).read_text().splitlines()]
    assert len(lines) == len(sent) + 2
    position = 0
    for offset, length, crc, *_ in lines:
        assert int(offset) == position
        position += int(length)
        assert zlib.crc32(content[int(offset) : position]) == int(crc, 16)
    assert position == len(content)
    assert [float(line[3]) for line in lines] == sorted(float(line[3]) for line in lines)


@_many
@given(data=st.data())
def test_damage_is_found(recorded, tmp_path, data):
    """One flipped bit anywhere: the acquisitions before it, then an error; never a wrong number."""
    path, sent = recorded
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = tmp_path / "raw.mrd"
    damaged.write_bytes(content)
    shutil.copy(index_path(path), index_path(damaged))
    ends = [int(line.split()[0]) + int(line.split()[1]) for line in index_path(path).read_text().splitlines()]
    acquisitions, end = _taken(damaged)
    assert end == "damaged"
    assert acquisitions == sent[: max(0, sum(limit <= position for limit in ends) - 1)]


@_many
@given(st.binary(max_size=300))
def test_rubbish_is_one_of_two_errors(tmp_path_factory, content):
    """Any bytes without an index: a typed error within bounded memory, never another exception."""
    path = tmp_path_factory.mktemp("rubbish") / "raw.mrd"
    path.write_bytes(content)
    with pytest.raises(AcquisitionError):
        list(read_stream(path))


def test_huge_lengths_are_not_believed(recorded, tmp_path):
    """A header that claims 65535 samples of 65535 channels in a small file asks for no memory."""
    path, _ = recorded
    head = ismrmrd.AcquisitionHeader()
    head.number_of_samples = head.active_channels = 65535
    content = path.read_bytes()[:-2] + struct.pack("<H", 1008) + bytes(head)
    claim = tmp_path / "raw.mrd"
    claim.write_bytes(content)
    assert _taken(claim)[1] == "truncated"
    claim.write_bytes(struct.pack("<HI", 3, 0xFFFFFFFF))
    assert _taken(claim) == ([], "damaged")


def test_header_that_is_no_header(tmp_path):
    """Five parser exceptions become one error that names the file."""
    path = tmp_path / "raw.mrd"
    path.write_bytes(struct.pack("<HI", 3, 6) + b"<xml/>" + struct.pack("<H", 4))
    with StreamReader(path) as reader, pytest.raises(AcquisitionError, match="no MRD header"):
        _ = reader.header
    path.write_bytes(struct.pack("<H", 4))
    with pytest.raises(AcquisitionError, match="no header"):
        StreamReader(path)


def test_failure_of_the_scan_leaves_an_unfinished_stream(tmp_path):
    """An error inside the block: what was acknowledged is there, the closing message is not."""
    path = tmp_path / "raw.mrd"

    def scan():
        yield _acquisition(0)
        raise RuntimeError("coil on fire")

    with pytest.raises(RuntimeError, match="coil on fire"), StreamWriter(path, _header()) as writer:
        list(writer.record(scan()))
    assert _taken(path) == ([_acquisition(0)], "truncated")
    with pytest.raises(ValueError, match="is closed"):
        writer.append(_acquisition(1))
    with pytest.raises(ValueError, match="is closed"):
        writer.finish()
    writer.close()


def test_no_record_is_overwritten(tmp_path):
    """A second writer on the same name is refused and the first record is untouched."""
    path = tmp_path / "raw.mrd"
    with StreamWriter(path, _header()):
        pass
    before = path.read_bytes()
    with pytest.raises(StorageError, match="cannot create"):
        StreamWriter(path, _header())
    assert path.read_bytes() == before
    with pytest.raises(StorageError, match="cannot create"):
        StreamWriter(tmp_path / "nowhere" / "raw.mrd", _header())


_CHILD = textwrap.dedent(
    """
    import resource, signal, sys
    from pathlib import Path
    import ismrmrd, numpy as np
    from ismrmrd import xsd
    from acquisition.stream import StreamWriter
    from coilbench.base.errors import StorageError

    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=1), encoding=[]
    )
    limit = int(sys.argv[2])
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    writer = StreamWriter(Path(sys.argv[1]), header)
    data = np.ones((8, 512), np.complex64)
    number = 0
    try:
        while True:
            writer.append(ismrmrd.Acquisition.from_array(data * number, scan_counter=number))
            print(number, flush=True)
            number += 1
    except StorageError as error:
        print(error, flush=True)
        sys.exit(7)
    """
)


def _child(path, limit: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), str(limit)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to kill with")
def test_kill_loses_nothing_acknowledged(tmp_path):
    """SIGKILL in the middle of writing: every acquisition that was acknowledged is read back."""
    path = tmp_path / "raw.mrd"
    with _child(path, 0) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(200)]
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    acquisitions, end = _taken(path)
    assert end == "truncated"
    assert len(acquisitions) in (len(acknowledged), len(acknowledged) + 1)
    assert [a.scan_counter for a in acquisitions] == list(range(len(acquisitions)))
    assert all(a.data[7, 511] == a.scan_counter for a in acquisitions)


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit to meet")
def test_disk_that_refuses_keeps_what_was_acknowledged(tmp_path):
    """The operating system takes only part of a write: the stream ends after the last whole acquisition."""
    path = tmp_path / "raw.mrd"
    with _child(path, 300_000) as child:
        assert child.stdout is not None
        *numbers, message = child.stdout.read().splitlines()
    assert child.returncode == 7
    assert f"the {len(numbers)} acquisitions before are safe" in message
    assert len(numbers) == (300_000 - 1000) // (8 * 512 * 8 + 342)
    acquisitions, end = _taken(path)
    assert (len(acquisitions), end) == (len(numbers), "truncated")
    # Nothing of the refused message is left.
    last = index_path(path).read_text().splitlines()[-1].split()
    assert path.stat().st_size == int(last[0]) + int(last[1])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")  # noqa: PTH110
def test_full_disk_says_so(tmp_path):
    """ENOSPC from the kernel becomes a StorageError that says what is safe; later writes fail alike."""
    path = tmp_path / "raw.mrd"
    writer = StreamWriter(path, _header())
    writer.append(_acquisition(0))
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._data)
    os.close(full)
    with pytest.raises(StorageError, match=r"No space left on device; the 1 acquisitions before are safe"):
        writer.append(_acquisition(1))
    with pytest.raises(StorageError, match="No space left"):
        writer.append(_acquisition(2))
    with pytest.raises(StorageError, match="No space left"):
        writer.close()
    assert _taken(path) == ([_acquisition(0)], "truncated")


def test_data_reach_the_medium_in_time(tmp_path, monkeypatch):
    """Nothing stays unsynchronised longer than the interval, and never more than the bound."""
    synced = []
    real = getattr(os, "fdatasync", os.fsync)
    name = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
    monkeypatch.setattr(os, name, lambda descriptor: (real(descriptor), synced.append(descriptor)))
    with StreamWriter(tmp_path / "a.mrd", _header(), sync_interval=0.01) as writer:
        writer.append(_acquisition(0))
        deadline = time.monotonic() + 10.0
        while not synced and time.monotonic() < deadline:
            time.sleep(0.002)
        assert synced
    synced.clear()
    with StreamWriter(tmp_path / "b.mrd", _header(), sync_interval=1e3, sync_bytes=1000) as writer:
        for number in range(4):
            writer.append(_acquisition(number))
        assert synced


def test_sync_failure_is_not_swallowed(tmp_path, monkeypatch):
    """A medium that refuses later than the operating system is reported at the next write."""
    name = "fdatasync" if hasattr(os, "fdatasync") else "fsync"

    def refuse(_descriptor):
        raise OSError(5, "Input/output error")

    writer = StreamWriter(tmp_path / "raw.mrd", _header(), sync_interval=1e3, sync_bytes=1)
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        writer.append(_acquisition(0))
    with pytest.raises(StorageError, match="Input/output error"):
        writer.close()


def test_hdf5_of_an_unfinished_stream(recorded, tmp_path):
    """Refused unless asked for; then it holds the whole acquisitions. No part file is left."""
    path, sent = recorded
    cut = tmp_path / "raw.mrd"
    cut.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TruncatedStream):
        write_hdf5(cut, tmp_path / "scan.h5")
    assert [item.name for item in tmp_path.iterdir()] == ["raw.mrd"]
    assert write_hdf5(cut, tmp_path / "scan.h5", allow_unfinished=True) == 3
    with ismrmrd.File(str(tmp_path / "scan.h5"), "r") as file:
        assert list(file["dataset"].acquisitions[:]) == sent[:3]
        assert file["dataset"].header == _header()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["raw.mrd", "scan.h5"]


def test_hdf5_of_a_damaged_stream_is_not_made(recorded, tmp_path):
    """A wrong checksum stops the conversion before anything appears under the final name."""
    path, _ = recorded
    damaged = tmp_path / "raw.mrd"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    shutil.copy(index_path(path), index_path(damaged))
    with pytest.raises(AcquisitionError, match="checksum"):
        write_hdf5(damaged, tmp_path / "scan.h5", allow_unfinished=True)
    assert not (tmp_path / "scan.h5").exists()
    assert not (tmp_path / "scan.h5.part").exists()


def test_hdf5_that_cannot_be_written(recorded, tmp_path):
    """A folder that is not there is a StorageError that says where the data are safe."""
    path, _ = recorded
    with pytest.raises(StorageError, match="the scan is safe in"):
        write_hdf5(path, tmp_path / "nowhere" / "scan.h5")


def test_hdf5_is_compared_before_it_is_named(recorded, tmp_path, monkeypatch):
    """A disk that gives back other bytes is caught while the file is still a part."""
    path, _ = recorded
    real = h5py.File.close

    def rot(file):
        if file.mode == "r+":
            row = file["dataset/data"][2]
            row["data"] = row["data"] * np.float32(1.0000001) + np.float32(1e-3)
            file["dataset/data"][2] = row
        real(file)

    monkeypatch.setattr(h5py.File, "close", rot)
    with pytest.raises(StorageError, match="something else than was written"):
        write_hdf5(path, tmp_path / "scan.h5")
    assert list(tmp_path.iterdir()) == []
