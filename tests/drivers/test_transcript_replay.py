"""A transcript plays a real session back to the byte, and fails at the first different one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coilbench.base.errors import ConnectionFailed, ConnectionLost, ReplyTimeout
from drivers.address import open_link
from drivers.analyzers import nanovna_h, rohde_schwarz_znb
from drivers.link import Link
from drivers.protocols import Segment, SweepPlan
from drivers.transcript import RecordingWire, ReplayWire, TranscriptError
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.instruments.rs_znbt import RsZnbt

if TYPE_CHECKING:
    from pathlib import Path

    import skrf

    from drivers.protocols import NetworkAnalyzer

PLAN = SweepPlan((Segment(33e6, 34e6, 5), Segment(127e6, 128e6, 3)), 10e3)
OTHER_PLAN = SweepPlan((Segment(33e6, 34e6, 5), Segment(127e6, 129e6, 3)), 10e3)


def measure(analyzer: NetworkAnalyzer, plan: SweepPlan = PLAN) -> skrf.Network:
    analyzer.configure(plan)
    network = analyzer.sweep(analyzer.reflection_ports)
    analyzer.close()
    return network


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, skrf.Network]:
    path = tmp_path / "znbt.jsonl"
    with RsZnbt(AsymmetricNetwork(2), port_count=2, seed=5) as simulated:
        host, port = simulated.socket_address
        return path, measure(rohde_schwarz_znb.open_analyzer(f"tcp://{host}:{port}", name="vna", record=path))


def test_transcript_of_a_znb_plays_back_bit_exactly(recorded: tuple[Path, skrf.Network]) -> None:
    """The driver gets the very same numbers from the recording, and asks nothing else."""
    path, network = recorded
    analyzer = rohde_schwarz_znb.open_analyzer(f"replay://{path}", name="vna")
    wire = analyzer._session.link._wire
    replayed = measure(analyzer)
    np.testing.assert_array_equal(replayed.s, network.s)
    np.testing.assert_array_equal(replayed.f, network.f)
    assert isinstance(wire, ReplayWire)
    assert wire.remaining == 0


def test_transcript_fails_at_the_first_different_byte(recorded: tuple[Path, skrf.Network]) -> None:
    """A driver that asks for another sweep than was recorded is told where it left the path."""
    path, _ = recorded
    analyzer = rohde_schwarz_znb.open_analyzer(f"replay://{path}", name="vna")
    with pytest.raises(TranscriptError, match=r"line \d+: 'SENS1:SEGM2:FREQ:STOP 129.*recorded"):
        measure(analyzer, OTHER_PLAN)


def test_transcript_of_a_nanovna_plays_back(tmp_path: Path) -> None:
    """Echo and prompt are in the recording too."""
    path = tmp_path / "nanovna.jsonl"
    with NanoVnaH(AsymmetricNetwork(2), seed=6) as simulated:
        network = measure(nanovna_h.open_analyzer(simulated.address, name="nano", record=path))
    replayed = measure(nanovna_h.open_analyzer(f"replay://{path}", name="nano"))
    np.testing.assert_array_equal(replayed.s, network.s)


def test_transcript_is_never_overwritten(recorded: tuple[Path, skrf.Network]) -> None:
    """A recording made on hardware cannot be lost to a second run."""
    path, _ = recorded
    with pytest.raises(FileExistsError):
        RecordingWire(ReplayWire(path), path)


@pytest.mark.parametrize(
    "text",
    ["", "{}\n", "[]\n", "no json\n", '{"format": "other"}\n', '{"format": "coilbench transcript 1"}\n{}\n'],
)
def test_transcript_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """Any other file is named as no transcript."""
    path = tmp_path / "x.jsonl"
    path.write_text(text, encoding="ascii")
    with pytest.raises(TranscriptError):
        open_link(f"replay://{path}", name="vna")


def write(path: Path, *steps: dict[str, str]) -> Path:
    lines = [{"format": "coilbench transcript 1", "address": "tcp://x:1"}, {"do": "open"}, *steps]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    return path


def test_transcript_replays_silence_and_loss(tmp_path: Path) -> None:
    """Where the instrument kept silent the replay times out at once; where it hung up, it is lost."""
    path = write(
        tmp_path / "x.jsonl",
        {"do": "send", "text": "A?\n"},
        {"do": "send", "text": "B?\n"},
        {"do": "receive", "hex": "31"},
        {"do": "lost"},
    )
    link = open_link(f"replay://{path}", name="vna", timeout=60.0)
    link.write_line("A?")
    with pytest.raises(ReplyTimeout):
        link.read_line()
    link.write_line("B?")
    assert link.read_some() == b"1"
    with pytest.raises(ConnectionLost):
        link.read_line()
    with pytest.raises(ConnectionFailed, match="ends here"):
        link.reopen()


def test_transcript_device_clear_throws_unread_answers_away(tmp_path: Path) -> None:
    """A recorded device clear is a device clear; on a stream without one the link opens anew."""
    path = write(
        tmp_path / "x.jsonl",
        {"do": "receive", "text": "late\n"},
        {"do": "clear"},
        {"do": "close"},
        {"do": "open"},
        {"do": "receive", "text": "new\n"},
    )
    link = open_link(f"replay://{path}", name="vna")
    link.clear()
    link.clear()
    assert link.read_line() == "new"


@given(pieces=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5), cuts=st.integers(1, 7))
def test_transcript_holds_every_byte(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], cuts: int
) -> None:
    """Text or not, what was received comes back, however the reader cuts it."""
    path = tmp_path_factory.mktemp("bytes") / "x.jsonl"
    everything = b"".join(pieces)
    source = write(
        path.with_name("source.jsonl"), *[{"do": "receive", "hex": piece.hex()} for piece in pieces]
    )
    with Link(RecordingWire(ReplayWire(source), path), "vna") as link:
        assert bytes(link.read_exact(len(everything))) == everything
    with Link(ReplayWire(path), "vna") as link:
        read = b""
        while len(read) < len(everything):
            read += link.read_some(limit=cuts)
    assert read == everything
