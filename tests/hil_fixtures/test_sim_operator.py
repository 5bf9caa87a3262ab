"""The simulated bench's hands: they do what procedures ask in words, in the process and over TCP."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coilbench.base import operator as ask
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics.probe_stand import StandSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(seed=1, probes=StandSettings()) as started:
        yield started


def test_every_sentence_that_a_procedure_says_is_understood(lab: Lab) -> None:
    stand = lab.stand
    assert stand is not None
    lab.operator(ask.hold_probes_over(7))
    assert stand.faced == 7
    lab.operator(ask.take_probes_away())
    assert stand.faced is None
    lab.operator(ask.take_phantom_out())
    assert lab.world.load is None
    lab.operator(ask.put_phantom_in())
    assert lab.world.load is not None
    lab.operator(ask.connect_to_preamplifier((3,)))
    lab.operator(ask.leave_open((5, 13, 16)))
    assert [port for port, end in enumerate(stand.endings, 1) if end == "preamplifier"] == [3]
    assert [port for port, end in enumerate(stand.endings, 1) if end == "open"] == [5, 13, 16]
    lab.operator(ask.connect_to_analyzer((3, 5, 13, 16)))
    assert set(stand.endings) == {"analyzer"}


@pytest.mark.parametrize(
    "sentence",
    [
        "Make coffee.",
        "Hold the probes.",
        "Hold the probes over loop 9.",
        "Look at the phantom.",
        "Connect port 17 to the analyzer.",
        "Connect port 3 to the mains.",
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_changes(lab: Lab, sentence: str) -> None:
    stand = lab.stand
    assert stand is not None
    before = stand.faced, stand.endings, lab.world.load
    with pytest.raises(ValueError, match=r"\w"):
        lab.operator(sentence)
    assert (stand.faced, stand.endings, lab.world.load) == before


def test_the_hands_answer_lines_on_tcp(lab: Lab) -> None:
    """Several sentences in one packet and one in several; a refusal has its reason; the line goes on."""
    assert lab.stand is not None
    host, port = lab.addresses["operator"].removeprefix("tcp://").rsplit(":", 1)
    with closing(socket.create_connection((host, int(port)), timeout=10.0)) as line:
        answers = line.makefile("rb")
        line.sendall(f"{ask.hold_probes_over(2)}\nMake coffee.\n".encode())
        assert answers.readline() == b"done\n"
        assert answers.readline().startswith(b"cannot: ")
        text = f"{ask.hold_probes_over(4)}\n".encode()
        line.sendall(text[:9])
        line.sendall(text[9:])
        assert answers.readline() == b"done\n"
        line.sendall(b"x" * 3000)
        assert b"no end" in answers.readline()
    assert lab.stand.faced == 4


def test_a_bench_without_probes_says_how_to_get_them() -> None:
    with Lab(seed=1) as plain:
        assert plain.stand is None
        assert "probe_ports" not in plain.addresses
        with pytest.raises(ValueError, match="--probes"):
            plain.operator(ask.hold_probes_over(1))


def test_a_bench_with_probes_has_an_analyzer_with_their_ports(lab: Lab) -> None:
    """Ports 17 and 18 of a 24-port instrument; S of the array is what it is without a stand."""
    assert lab.addresses["probe_ports"] == [17, 18]
    host, port = lab.addresses["analyzer_tcp"].removeprefix("tcp://").rsplit(":", 1)
    with closing(socket.create_connection((host, int(port)), timeout=10.0)) as line:
        line.sendall(b"*IDN?;:INST:PORT:COUN?\n")
        assert line.makefile("rb").readline() == b"Rohde-Schwarz,ZNBT8-24Port,1318700624999999,3.32;24\n"
