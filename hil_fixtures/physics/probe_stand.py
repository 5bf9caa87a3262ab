"""The array on a test stand: probes that can be moved, and ports that end in what somebody connects to them.

True: the S-matrix of array and probes in any state of bias, trimmers, load, probes and endings; after a
change of bias, how it follows while the diodes' charge builds up or drains. Not true: the receivers do not
feel the stand (they hear the array through matched preamplifiers, probes put away); and circuits follow
the diodes at once, which is right for time constants well above 2Q/omega (1 us).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from hil_fixtures.physics.cables import Cables
from hil_fixtures.physics.design import design_channel
from hil_fixtures.physics.network import Z0, couple, loop_impedance, sections, solve
from hil_fixtures.physics.probes import ProbePair, add_probes, probe_impedance
from hil_fixtures.physics.sample import Load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.world import World

#: What an array's port can end in. ``analyzer`` is a cable of 50 ohm to the port of the same number.
Ending: TypeAlias = Literal["analyzer", "preamplifier", "open"]
ENDINGS: Final[tuple[Ending, ...]] = ("analyzer", "preamplifier", "open")


@dataclass(frozen=True, slots=True)
class Preamplifiers:
    """Preamplifiers of low input impedance, each behind a piece of line.

    Parameters
    ----------
    resistance
        At their input, ohm; 1 to 5 is usual for decoupling preamplifiers.
    phase_error
        What the lines are longer than right for decoupling, rad one way.
    """

    resistance: float = 2.0
    phase_error: float = 0.0


@dataclass(frozen=True, slots=True)
class StandSettings:
    """What of the stand can be chosen.

    Parameters
    ----------
    probes
        Their geometry.
    preamplifiers
        What a port ends in when it is connected to its preamplifier.
    carrier_lifetime
        Of the PIN diodes, s: with it the charge follows the bias. Some us for switching types.
    """

    probes: ProbePair = field(default_factory=ProbePair)
    preamplifiers: Preamplifiers = field(default_factory=Preamplifiers)
    carrier_lifetime: float = 4e-6


class ProbeStand:
    """Array and probes as an analyzer sees them: the world's ports first, then the two probes.

    Any thread may call it.

    Parameters
    ----------
    world
        Whose array it is.
    settings
        None: the defaults.
    """

    def __init__(self, world: World, settings: StandSettings | None = None) -> None:
        self._world = world
        self._settings = StandSettings() if settings is None else settings
        self._lock = threading.RLock()
        self._faced: int | None = None
        self._endings: list[Ending] = ["analyzer"] * world.port_count
        self._lines = line_delays(world, self._settings.preamplifiers)

    @property
    def port_count(self) -> int:
        """Ports of the array and the two of the probes."""
        return self._world.port_count + 2

    @property
    def probe_ports(self) -> tuple[int, int]:
        """The probes' ports, counted from 1."""
        return self._world.port_count + 1, self._world.port_count + 2

    @property
    def faced(self) -> int | None:
        """The channel (from 1) that the probes face; None: they are far from everything."""
        with self._lock:
            return self._faced

    def face(self, channel: int | None) -> None:
        """Hold the probes over a channel (from 1), or far from everything.

        Raises
        ------
        ValueError
            There is no such channel.
        """
        if channel is not None and not 1 <= channel <= self._world.channel_count:
            raise ValueError(f"no channel {channel}; there are 1 to {self._world.channel_count}")
        with self._lock:
            self._faced = channel

    @property
    def endings(self) -> tuple[Ending, ...]:
        """What each port of the array ends in."""
        with self._lock:
            return tuple(self._endings)

    def end(self, ports: Iterable[int], ending: Ending) -> None:
        """Connect ports of the array (from 1) to something else.

        Raises
        ------
        ValueError
            There is no such port or ending; nothing has changed.
        """
        chosen = list(ports)
        if ending not in ENDINGS:
            raise ValueError(f"a port ends in one of {', '.join(ENDINGS)}; got {ending!r}")
        wrong = [port for port in chosen if not 1 <= port <= self._world.port_count]
        if wrong:
            raise ValueError(f"no port {wrong[0]}; the array has 1 to {self._world.port_count}")
        with self._lock:
            for port in chosen:
                self._endings[port - 1] = ending

    def rf_output(self, source: str, on: bool) -> None:
        """Tell the world that an instrument's RF output is on or off."""
        self._world.rf_output(source, on)

    def scattering(self, frequencies: Real) -> Complex:
        """Return the true S-parameters now, shape (frequency, port, port), 50 ohm.

        Ports of the array that are not connected to the analyzer reflect everything: its cables are open.
        """
        bias = np.array([self._world.bias(channel + 1) for channel in range(self._world.channel_count)])
        return self._scattering(np.atleast_1d(np.asarray(frequencies, dtype=np.float64)), bias)

    def shown_scattering(self, frequencies: Real) -> Complex:
        """Return S as the analyzer shows it: residual errors at the array's ports, none at the probes'."""
        axis = np.atleast_1d(np.asarray(frequencies, dtype=np.float64))
        cables = self._world.cables
        extended = Cables(
            np.append(cables.delay, np.zeros(2)),
            np.append(cables.directivity, np.zeros(2, dtype=np.complex128)),
            np.append(cables.directivity_delay, np.zeros(2)),
        )
        return extended.show(self.scattering(axis), axis)

    def transient(self, frequency: float, times: Real) -> Complex:
        """Return the S-parameters at one frequency in Hz after the last change of a bias.

        Parameters
        ----------
        times
            s since the change; before it (negative) all is as it was.

        Returns
        -------
        Shape (time, port, port). The diodes' charge approaches bias times carrier lifetime exponentially,
        dQ/dt = I - Q/tau; they conduct as a steady bias of Q/tau would let them.
        """
        before, after = self._world.bias_step()
        kept = np.exp(-np.maximum(times, 0.0) / self._settings.carrier_lifetime)
        return self._scattering(np.full(len(kept), frequency), after + kept[:, None] * (before - after))

    def _scattering(self, frequencies: Real, bias: Real) -> Complex:
        """Return S for one bias of each channel, or for one at each frequency, shape (frequency, channel)."""
        world, settings = self._world, self._settings
        with self._lock:
            faced, endings = self._faced, tuple(self._endings)
        circuit, capacitances, load = world.circuit, world.capacitances(), world.load
        response = solve(circuit, capacitances, bias, load, frequencies)
        cut = sections(circuit.fixed, capacitances, bias, frequencies)
        admittance = np.linalg.inv(couple(loop_impedance(circuit, load, frequencies), cut.impedance))
        channel = None if faced is None else faced - 1
        probes = probe_impedance(settings.probes, circuit.array, channel, load, frequencies)
        whole = add_probes(
            response.scattering, response.currents, np.asarray(admittance, dtype=np.complex128), probes
        )
        return close_ports(whole, self.reflections(endings, frequencies), analyzed(endings))

    def reflections(self, endings: tuple[Ending, ...], frequencies: Real) -> Complex:
        """Return what the array's ports look into, shape (frequency, port); 0 for the analyzer."""
        resistance = self._settings.preamplifiers.resistance
        turns = np.exp(-4j * np.pi * frequencies[:, None] * self._lines)
        preamplifier = (resistance - Z0) / (resistance + Z0) * turns
        kinds = np.array(endings)
        return np.asarray(
            np.where(kinds == "preamplifier", preamplifier, np.where(kinds == "open", 1.0, 0.0))
        )


def analyzed(endings: tuple[Ending, ...]) -> tuple[bool, ...]:
    """Return which ports of array and probes are at the analyzer."""
    return (*(ending == "analyzer" for ending in endings), True, True)


def close_ports(scattering: Complex, reflections: Complex, kept: tuple[bool, ...]) -> Complex:
    """Return S with the ports that are not kept closed by reflections; they then read 1.

    Parameters
    ----------
    scattering
        Shape (frequency, port, port).
    reflections
        Shape (frequency, port); those of kept ports are not used. Ports beyond are kept.
    kept
        For each port.

    Notes
    -----
    S_kk + S_kc (1 - G S_cc)^-1 G S_ck, G the closed ports' reflections.
    """
    inside, outside = np.flatnonzero(np.logical_not(kept)), np.flatnonzero(kept)
    if inside.size == 0:
        return scattering
    closing = reflections[:, inside]
    own = scattering[:, inside[:, None], inside]
    back = np.linalg.solve(
        np.eye(inside.size) - closing[:, :, None] * own,
        closing[:, :, None] * scattering[:, inside[:, None], outside],
    )
    result = np.zeros_like(scattering)
    result[:, inside, inside] = 1.0
    result[:, outside[:, None], outside] = (
        scattering[:, outside[:, None], outside] + scattering[:, outside[:, None], inside] @ back
    )
    return result


def line_delays(world: World, preamplifiers: Preamplifiers) -> Real:
    """Return the delays in s of the lines between ports and preamplifiers, cut for the design's values.

    Through its match trimmer a short line shows the section an inductance that is in parallel resonance
    with the rest of the section at the port's frequency; so no current flows in the loop (Roemer et al.,
    Magn Reson Med 16:192 (1990)).

    Returns
    -------
    Shape (port,).
    """
    settings = world.settings
    load = Load(settings.phantom.radius_m, settings.load_conductivity, settings.load_permittivity)
    design = design_channel(world.circuit.array, load, world.frequencies)
    low, high = (2.0 * np.pi * frequency for frequency in world.frequencies)
    tune_low, match_low, tune_high, match_high = design.trimmers
    branch = high * design.trap_inductance - 1.0 / (high * design.trap_capacitance)
    delays = []
    for omega, susceptance, match in (
        (low, low * tune_low, match_low),
        (high, high * tune_high - 1.0 / branch, match_high),
    ):
        wanted = 1.0 / (omega * match) + 1.0 / susceptance
        delays += [(np.arctan2(wanted, Z0) + preamplifiers.phase_error) / omega] * world.channel_count
    return np.array(delays)
