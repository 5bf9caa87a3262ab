"""The R&S OSP driver against the simulated unit over TCP: contract, switching order, readback, refusals."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coilbench.base.errors import (
    BenchFileError,
    ConnectionFailed,
    ConnectionLost,
    InstrumentFault,
    ProtocolError,
    ReplyTimeout,
)
from drivers.registry import open_instrument
from drivers.switches.channel_list import Relay, format_channel_list, parse_channel_list
from drivers.switches.rohde_schwarz_osp import open_switch
from drivers.switches.routing import RoutingMatrix, read_routes
from drivers.switches.wiring import sixteen_to_two
from hil_fixtures.contracts.switch import SwitchContract
from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.rs_osp import RsOsp
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.instruments.switched_device import SwitchedDevice

ROUTES, PARKED = sixteen_to_two()
F = np.array([33.8e6, 127.7e6])


@pytest.fixture
def unit():
    with RsOsp(SwitchedDevice(AsymmetricNetwork(16), seed=3)) as simulated:
        yield simulated


@pytest.fixture
def device(unit):
    return unit._device


@pytest.fixture
def switch(unit):
    opened = open_switch(unit.address, name="switch", routes=ROUTES, parked=PARKED, timeout=1.0)
    yield opened
    unit.link_faults.heal()
    opened.close()


class TestOspContract(SwitchContract):
    """All that a switch matrix must keep."""


# -- channel lists ----------------------------------------------------------------------------------


def test_channel_lists_are_written_as_the_manual_writes_them():
    """(@F01M01(0301),F01M02(0602)): relay 1 of M01 to state 3, relay 2 of M02 to state 6 (page 254)."""
    states = parse_channel_list("(@F01M01(0301),F01M02(0602))")
    assert states == {Relay("F01M01", 1): 3, Relay("F01M02", 2): 6}
    assert format_channel_list(states) == "(@F01M01(0301),F01M02(0602))"
    # several relays of one module (page 254)
    assert parse_channel_list("(@F01M11(0102,0104,0105))") == {Relay("F01M11", n): 1 for n in (2, 4, 5)}


@given(
    st.dictionaries(
        st.builds(
            Relay,
            st.builds("F{:02d}M{:02d}".format, st.integers(1, 99), st.integers(1, 20)),
            st.integers(1, 99),
        ),
        st.integers(0, 12),
        min_size=1,
    )
)
def test_channel_lists_come_back(states):
    """Whatever was written is read."""
    assert parse_channel_list(format_channel_list(states)) == states


@pytest.mark.parametrize(
    "text", ["", "1", "F01M01", "F01M01(1)", "F01M01(01x2)", "F01M01(0101)F", "F01M01(0101,0201)"]
)
def test_other_texts_are_refused(text):
    """Also a relay that is named twice."""
    with pytest.raises(ValueError, match=r"expected|named twice"):
        parse_channel_list(text)


# -- routing ----------------------------------------------------------------------------------------


def test_wirings_that_contradict_themselves_are_refused():
    """A route of nothing, a relay that cannot be parked, parking that is forbidden, a route's odd name."""
    one, two = Relay("F01M01", 1), Relay("F01M01", 2)
    with pytest.raises(ValueError, match="at least one route"):
        RoutingMatrix({}, {one: 0})
    with pytest.raises(ValueError, match="nothing about F01M01 K2"):
        RoutingMatrix({(1, 1): {two: 1}}, {one: 0})
    with pytest.raises(ValueError, match="forbidden by the bench file: F01M01 K1 in state 0"):
        RoutingMatrix({(1, 1): {one: 1}}, {one: 0}, ({one: 0},))
    with pytest.raises(ValueError, match="'analyzer port-device port'"):
        read_routes({"a-b": "F01M01(0101)"}, "F01M01(0001)")


def test_forbidden_combinations_are_refused_before_anything_moves(unit):
    """Two routes may each be allowed and not both together."""
    routes = {"1-1": "F01M01(0101)", "1-2": "F01M01(0001)", "2-2": "F01M01(0102)", "2-1": "F01M01(0002)"}
    forbidden = ["F01M01(0101,0102)"]
    parked = "F01M01(0001,0002)"
    opened = open_switch(unit.address, name="s", routes=routes, parked=parked, forbidden=forbidden)
    moved = len(unit.history)
    with pytest.raises(
        ValueError, match="forbidden by the bench file: F01M01 K1 in state 1, F01M01 K2 in state 1"
    ):
        opened.connect((1, 2))
    assert len(unit.history) == moved
    assert opened.connect((1,)) == (1,)
    opened.close()


def test_the_wiring_for_sixteen_ports_connects_every_pair_both_ways(switch, device):
    """All 240 ordered pairs lead where they should, as the relays' own wiring says."""
    for first in range(1, 17):
        second = first % 16 + 1
        for ports in ((first, second), (second, first)):
            switch.connect(ports)
            assert (device.connected(0), device.connected(1)) == ports
    matrix = read_routes(ROUTES, PARKED)
    for first in range(1, 17):
        for second in set(range(1, 17)) - {first}:
            assert matrix.states((first, second))


def test_a_port_that_is_not_connected_always_ends_in_the_same_load(switch, device):
    """Whatever is connected, the loads of all others are those of side A: one known load for each port."""
    expected = device.terminations(F)
    for ports in ((1, 2), (16, 1), (9, 8), (3,)):
        switch.connect(ports)
        others = [port - 1 for port in range(1, 17) if port not in ports]
        np.testing.assert_array_equal(device._loads(F)[:, others], expected[:, others])


# -- breaking before making -------------------------------------------------------------------------


def test_old_connections_are_broken_before_new_ones_are_made(unit, switch):
    """Between two connections there is a moment in which every relay that moves is parked."""
    switch.connect((3, 12))
    before, begin = unit.states, len(unit.history)
    switch.connect((4, 12))
    after = unit.states
    between = unit.history[begin]
    changed = {relay for relay in after if before[relay] != after[relay]}
    assert changed
    assert all(between[relay] == 0 for relay in changed)
    kept = set(after) - changed
    # what stays connected is not interrupted
    assert all(between[relay] == before[relay] for relay in kept)


def test_relays_have_time_to_move(unit):
    """The driver waits for *OPC? after each of its two steps."""
    unit._time_scale = 10.0
    with_time = open_switch(unit.address, name="s", routes=ROUTES, parked=PARKED)
    begin = time.monotonic()
    with_time.connect((1, 2))
    # two steps of 0.15 s
    assert time.monotonic() - begin > 0.29
    with_time.close()


# -- faults -----------------------------------------------------------------------------------------


def test_a_stuck_relay_is_named(unit, switch):
    """Readback finds it; afterwards the position is unknown, and the next connection begins from parked."""
    unit.faults.stuck.add((4, 1))
    with pytest.raises(InstrumentFault, match="F01M04 K1 did not reach"):
        switch.connect((3, 12))
    assert switch.connected is None
    unit.faults.stuck.clear()
    begin = len(unit.history)
    assert switch.connect((3, 12)) == (3, 12)
    assert set(unit.history[begin].values()) == {0}


def test_a_unit_without_the_relays_of_the_wiring_is_not_opened(unit):
    """The unit's own words and the command are in the error."""
    with pytest.raises(InstrumentFault, match=r"(?s)-222.*ROUT:CLOS|ROUT:CLOS.*-222"):
        open_switch(unit.address, name="s", routes={"1-1": "F01M09(0101)"}, parked="F01M09(0001)")


def test_mistakes_in_the_bench_file_are_told_as_such(unit):
    """Table and text are named; nothing is opened."""
    with pytest.raises(BenchFileError, match=r"\[instruments.switch\] expected"):
        open_switch(unit.address, name="switch", routes={"1-1": "relay one"}, parked=PARKED)
    opened = open_instrument("rs-osp", unit.address, name="switch", routes=ROUTES, parked=PARKED)
    assert opened.identity.startswith("Rohde&Schwarz,OSP")
    opened.close()


def test_another_instrument_at_the_address_is_refused():
    """A network analyzer is no switch."""
    with RsZnbt(AsymmetricNetwork(2), port_count=2) as vna:
        host, port = vna.socket_address
        with pytest.raises(ConnectionFailed, match="expected an R&S OSP"):
            open_switch(f"tcp://{host}:{port}", name="s", routes=ROUTES, parked=PARKED)


def test_a_garbled_readback_is_no_readback(unit, switch):
    """Neither 0 nor 1, or too few of them: the switch does not count as connected."""
    unit.link_faults.pass_unharmed(4)
    unit.link_faults.garbage()
    with pytest.raises((ProtocolError, ReplyTimeout)):
        switch.connect((1, 2))
    assert switch.connected is None
    unit.link_faults.heal()
    assert switch.connect((1, 2)) == (1, 2)


def test_a_lost_unit_is_told_and_parking_it_raises_nothing(unit, switch, caplog):
    """make_safe logs that it could not park."""
    unit.link_faults.stall()
    with pytest.raises((ReplyTimeout, ConnectionLost)):
        switch.connect((1, 2))
    switch.make_safe()
    assert "cannot be parked" in caplog.text


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("ROUT:CLOS (@F01M01(0207))", -222),
        ("ROUT:CLOS (@F02M01(0101))", -222),
        ("ROUT:CLOS F01", -104),
        ("ROUT:CLOS", -109),
    ],
)
def test_the_simulated_unit_refuses_what_does_not_exist(unit, message, code):
    """Other frames, elements, states and texts; ranges are taken (page 254)."""
    import asyncio

    asyncio.run(unit.answer(message))
    answer = asyncio.run(unit.answer("SYST:ERR?")).decode()
    assert answer.startswith(str(code))
    asyncio.run(unit.answer("ROUT:CLOS (@F01M01(0102:0104))"))
    assert asyncio.run(unit.answer("ROUT:CLOS? (@F01M01(0101,0102,0103,0104,0105))")) == b"0,1,1,1,0\n"
