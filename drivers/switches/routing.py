"""Which relay states connect which ports: routes, the parked state, and what must never be.

A route is a set of relay states that connects one port of the analyzer to one port of the device. Parked
is the state in which every device port ends in its load: relays that no route needs stay there, so that the
load of a port does not depend on which others are connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.switches.channel_list import Relay, States, parse_channel_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class RoutingMatrix:
    """The wiring of a switch unit.

    Parameters
    ----------
    routes
        Relay states by (analyzer port, device port), both counted from 1.
    parked
        The state of every relay when nothing is connected.
    forbidden
        Combinations of relay states that must not occur, such as two sources on one bus.
    """

    routes: Mapping[tuple[int, int], States]
    parked: States
    forbidden: tuple[States, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises
        ------
        ValueError
            There is no route, a relay has no parked state, or parking is itself forbidden.
        """
        if not self.routes:
            raise ValueError("a switch unit needs at least one route")
        named = {relay for states in (*self.routes.values(), *self.forbidden) for relay in states}
        if unknown := sorted(named - set(self.parked)):
            raise ValueError(f"parked says nothing about {', '.join(map(str, unknown))}")
        self._require_allowed(self.parked)

    @property
    def analyzer_ports(self) -> tuple[int, ...]:
        """Ports on the analyzer's side, in rising order."""
        return tuple(sorted({analyzer for analyzer, _ in self.routes}))

    @property
    def device_ports(self) -> tuple[int, ...]:
        """Ports on the device's side, in rising order."""
        return tuple(sorted({device for _, device in self.routes}))

    def states(self, device_ports: Sequence[int], /) -> dict[Relay, int]:
        """Return the state of every relay that connects analyzer port 1, 2, ... to ``device_ports``.

        Raises
        ------
        ValueError
            There is no such route, two routes need one relay in different states, or the combination is
            forbidden.
        """
        if len(device_ports) > len(self.analyzer_ports):
            raise ValueError(
                f"{len(device_ports)} ports asked for, the analyzer's side has {len(self.analyzer_ports)}"
            )
        wanted = dict(self.parked)
        owner: dict[Relay, tuple[int, int]] = {}
        for pair in zip(self.analyzer_ports, device_ports, strict=False):
            if pair not in self.routes:
                raise ValueError(
                    f"no route connects analyzer port {pair[0]} to device port {pair[1]}; device ports are "
                    f"{', '.join(map(str, self.device_ports))}"
                )
            for relay, state in self.routes[pair].items():
                if relay in owner and wanted[relay] != state:
                    other = owner[relay]
                    raise ValueError(
                        f"routes {other[0]}-{other[1]} and {pair[0]}-{pair[1]} need {relay} in two states"
                    )
                owner[relay] = pair
                wanted[relay] = state
        self._require_allowed(wanted)
        return wanted

    def breaking(self, before: States, after: States, /) -> dict[Relay, int]:
        """Return what to set first, so that every old connection is broken before a new one is made."""
        return {relay: self.parked[relay] for relay in self.parked if before.get(relay) != after[relay]}

    def _require_allowed(self, states: States) -> None:
        for combination in self.forbidden:
            if all(states[relay] == state for relay, state in combination.items()):
                named = ", ".join(f"{relay} in state {state}" for relay, state in combination.items())
                raise ValueError(f"forbidden by the bench file: {named}")


def read_routes(routes: Mapping[str, str], parked: str, forbidden: Sequence[str] = ()) -> RoutingMatrix:
    """Return the wiring that a bench file describes.

    Parameters
    ----------
    routes
        Channel lists by ``"analyzer port-device port"``, such as ``{"1-5": "F01M01(0105),F01M02(0501)"}``.
    parked, forbidden
        Channel lists.

    Raises
    ------
    ValueError
        A name or a channel list cannot be read, or the parts do not fit each other.
    """
    pairs: dict[tuple[int, int], States] = {}
    for name, states in routes.items():
        analyzer, dash, device = name.partition("-")
        if not (dash and analyzer.strip().isdecimal() and device.strip().isdecimal()):
            raise ValueError(f"a route is called 'analyzer port-device port', such as '1-5'; got {name!r}")
        pairs[int(analyzer), int(device)] = parse_channel_list(states)
    return RoutingMatrix(pairs, parse_channel_list(parked), tuple(map(parse_channel_list, forbidden)))
