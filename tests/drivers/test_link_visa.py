"""PyVISA's failures come out as ours: refused, late and lost are told apart, with the instrument's name."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
import pyvisa

from coilbench.base.errors import ConnectionFailed, ConnectionLost, ReplyTimeout
from drivers.address import open_link
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_znbt import RsZnbt

if TYPE_CHECKING:
    from drivers.link import Link


def ask(link: Link) -> str:
    link.write_line("*IDN?")
    return link.read_line()


@pytest.mark.parametrize(
    ("form", "service"),
    [("TCPIP::127.0.0.1::hislip0,{}::INSTR", "HiSLIP"), ("TCPIP::127.0.0.1,{}::inst0::INSTR", "VXI-11")],
)
def test_link_visa_refused_connection_names_the_service_to_enable(form: str, service: str) -> None:
    """Nobody listens: said at once, with what to switch on in the instrument."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=f"vna .*is {service} enabled"):
        open_link(form.format(port), name="vna")


def test_link_visa_peer_without_hislip_is_refused() -> None:
    """Something that closes on a HiSLIP greeting is not opened, and leaves no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"TCPIP::127.0.0.1::hislip0,{server.getsockname()[1]}::INSTR"

        def refuse() -> None:
            for _ in range(2):
                server.settimeout(10.0)
                server.accept()[0].close()

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ConnectionFailed, match="VISA cannot open it"):
            open_link(address, name="vna")
        thread.join()


def test_link_visa_opens_although_somebody_closed_the_shared_resource_manager() -> None:
    """PyVISA has one manager per library and process; another program's close must not end ours."""
    with RsZnbt(AsymmetricNetwork(2), port_count=2) as simulated:
        with open_link(simulated.hislip_resource, name="vna") as link:
            assert ask(link).startswith("Rohde")
        pyvisa.ResourceManager().close()
        with open_link(simulated.hislip_resource, name="vna") as link:
            assert ask(link).startswith("Rohde")


def test_link_visa_lines_blocks_silence_and_loss_are_those_of_any_link() -> None:
    """Over HiSLIP a link behaves as over a socket: lines, exact reads, timeout, device clear, loss."""
    with (
        RsZnbt(AsymmetricNetwork(2), port_count=2) as simulated,
        open_link(simulated.hislip_resource, name="vna", timeout=1.0) as link,
    ):
        assert ask(link).startswith("Rohde")
        link.write_line("FORM REAL,64")
        link.write_line("CALC1:DATA:STIM?")
        head = bytes(link.read_exact(2))
        count = int(link.read_exact(int(head[1:2])))
        assert len(link.read_exact(count)) == count
        assert bytes(link.read_exact(1)) == b"\n"
        with pytest.raises(ReplyTimeout):
            link.read_line(0.05)
        link.clear()
        link.write_line("INST:PORT:COUN?")
        assert link.read_line() == "2"
        simulated.hang_up()
        # PyVISA-py looks at its socket only when an answer is due
        with pytest.raises(ConnectionLost):
            ask(link)
