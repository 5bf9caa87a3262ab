"""What every switch matrix driver must keep, on the simulator and on hardware alike.

Subclass ``SwitchContract`` in a test module and give it a fixture ``switch`` that yields an open switch
matrix with two or more ports on the analyzer's side and three or more on the device's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coilbench.base.errors import ConnectionLost

if TYPE_CHECKING:
    from drivers.protocols import SwitchMatrix


class SwitchContract:
    """Tests that any open ``SwitchMatrix`` passes."""

    def test_it_says_who_it_is_and_what_it_has(self, switch: SwitchMatrix) -> None:
        """Name, identity and ports on both sides are there for errors, records and plans."""
        assert switch.name
        assert switch.identity
        assert len(switch.analyzer_ports) >= 2
        assert len(switch.device_ports) > len(switch.analyzer_ports)

    def test_it_is_parked_when_it_has_been_opened(self, switch: SwitchMatrix) -> None:
        """Whoever used it before may have left anything."""
        assert switch.connected == ()

    def test_what_was_connected_is_what_was_asked_for(self, switch: SwitchMatrix) -> None:
        """In both orders, and again after another connection."""
        first, second, third = switch.device_ports[:3]
        for ports in ((first, second), (second, first), (third, first), (first, second)):
            assert switch.connect(ports) == ports
            assert switch.connected == ports

    def test_fewer_ports_than_the_analyzer_has_may_be_connected(self, switch: SwitchMatrix) -> None:
        """One port alone, for reflections; parking afterwards."""
        assert switch.connect(switch.device_ports[-1:]) == switch.device_ports[-1:]
        switch.park()
        assert switch.connected == ()

    def test_one_port_cannot_be_at_two_cables(self, switch: SwitchMatrix) -> None:
        """Refused before anything moves; the connection of before is still there."""
        before = switch.connect(switch.device_ports[:2])
        with pytest.raises(ValueError, match="route"):
            switch.connect((switch.device_ports[0],) * 2)
        assert switch.connected == before

    def test_ports_that_do_not_exist_are_refused(self, switch: SwitchMatrix) -> None:
        """The message names the port, or how many there are."""
        with pytest.raises(ValueError, match=str(max(switch.device_ports) + 1)):
            switch.connect((max(switch.device_ports) + 1,))
        with pytest.raises(ValueError, match=str(len(switch.analyzer_ports))):
            switch.connect(switch.device_ports[: len(switch.analyzer_ports) + 1])

    def test_safe_is_parked_and_close_may_be_called_again(self, switch: SwitchMatrix) -> None:
        """Making safe keeps the switch usable; a closed one says so."""
        switch.connect(switch.device_ports[:2])
        switch.make_safe()
        assert switch.connected == ()
        assert switch.connect(switch.device_ports[:1])
        switch.close()
        switch.close()
        switch.make_safe()
        with pytest.raises(ConnectionLost):
            switch.connect(switch.device_ports[:1])
