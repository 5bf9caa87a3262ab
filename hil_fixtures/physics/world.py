"""The one world behind all simulated instruments: array, load, trimmers, bias, spins and noise.

Every instrument's thread may call it at any time: one lock orders them.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.nuclei import nucleus
from hil_fixtures.physics import noise, trimmers
from hil_fixtures.physics.build import solder
from hil_fixtures.physics.design import match_ports
from hil_fixtures.physics.kspace import balls
from hil_fixtures.physics.network import loop_impedance, solve
from hil_fixtures.physics.reach import best_reflections
from hil_fixtures.physics.receive import Chain, Listener, Window
from hil_fixtures.physics.rework import rework
from hil_fixtures.physics.sample import Load
from hil_fixtures.physics.settings import WorldSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hil_fixtures.physics.arrays import Complex, Real
    from hil_fixtures.physics.cables import Cables
    from hil_fixtures.physics.design import Design
    from hil_fixtures.physics.network import ArrayCircuit, Response
    from hil_fixtures.physics.reach import Attainable
    from hil_fixtures.physics.shot import Shot
    from hil_fixtures.physics.trimmers import Axis

__all__ = ["World", "WorldSettings"]

#: How far below its target `World.tuned` starts an axis, in steps: takes up the play.
_RUN_UP = 3 * trimmers.PLAY


class World:
    """A freshly soldered, mistuned array around its phantom.

    Parameters
    ----------
    settings
        What can be chosen.
    seed
        Draws the parts' tolerances, the starting positions and all noise.
    """

    def __init__(self, settings: WorldSettings | None = None, seed: int = 0) -> None:
        self._settings = WorldSettings() if settings is None else settings
        self._lock = threading.RLock()
        built = solder(
            self._settings.channels,
            self._sphere(self._settings.load_conductivity),
            self.frequencies,
            np.random.default_rng([seed, 0]),
            self._settings.workmanship,
        )
        self._design = built.design
        self._circuit = built.circuit
        self._axes = built.axes
        self._cables = built.cables
        self._own_conductivity = self._settings.load_conductivity * built.conductivity
        self._load: Load | None = self._sphere(self._own_conductivity)
        self._bias = np.zeros(self._settings.channels)
        self._bias_before = self._bias.copy()
        self._bias_watchers: list[Callable[[], None]] = []
        self._outputs: dict[str, bool] = {}
        self._state = 0
        # Receivers share one cache; its lock keeps a long scan from holding up the analyzer.
        self._listening = threading.Lock()
        self._listener = Listener(
            balls(built.circuit.array, self._settings.phantom),
            nucleus(self._settings.low_nucleus),
            self._settings.b0,
            self._settings.temperature,
            seed,
        )

    @classmethod
    def tuned(cls, seed: int = 0, settings: WorldSettings | None = None) -> World:
        """Return a world whose trimmers stand at `reference_positions` already."""
        world = cls(settings, seed)
        world.move_axes(world.reference_positions())
        return world

    @property
    def settings(self) -> WorldSettings:
        """What was chosen."""
        return self._settings

    @property
    def frequencies(self) -> tuple[float, float]:
        """Larmor frequencies in Hz of the two nuclei in the nominal field, lower first."""
        names = (self._settings.low_nucleus, self._settings.high_nucleus)
        low, high = (nucleus(name).larmor_frequency(self._settings.b0) for name in names)
        return low, high

    @property
    def channel_count(self) -> int:
        """Number of loops."""
        return self._settings.channels

    @property
    def port_count(self) -> int:
        """Number of ports: 23Na of every channel, then 1H of every channel."""
        return 2 * self._settings.channels

    @property
    def circuit(self) -> ArrayCircuit:
        """What of the array no trimmer moves."""
        return self._circuit

    @property
    def design(self) -> Design:
        """The values that the array was built to: what its drawing says."""
        return self._design

    # The network

    def scattering(self, frequencies: Real) -> Complex:
        """Return the true S-parameters now.

        Parameters
        ----------
        frequencies
            Shape (frequency,), Hz, all above 0.

        Returns
        -------
        Shape (frequency, port, port), 50 ohm.

        Raises
        ------
        ValueError
            A frequency is not above 0.
        """
        return self.response(frequencies).scattering

    @property
    def cables(self) -> Cables:
        """What the analyzer's calibration leaves of the cables to the array's ports."""
        return self._cables

    def shown_scattering(self, frequencies: Real) -> Complex:
        """Return what a calibrated analyzer shows now, without noise: the truth and its residual errors.

        Equal to `scattering` unless the workmanship has a delay or a directivity; arguments and errors as
        there.
        """
        axis = np.atleast_1d(np.asarray(frequencies, dtype=np.float64))
        return self._cables.show(self.scattering(axis), axis)

    def response(self, frequencies: Real) -> Response:
        """Return the S-parameters and the loop currents now; arguments and errors as `scattering`."""
        axis = np.atleast_1d(np.asarray(frequencies, dtype=np.float64))
        if axis.size and not np.min(axis) > 0.0:
            raise ValueError(f"frequencies must be above 0 Hz; the lowest is {np.min(axis)} Hz")
        with self._lock:
            capacitances, bias, load = self.capacitances(), self._bias.copy(), self._load
        return solve(self._circuit, capacitances, bias, load, axis)

    def capacitances(self) -> Real:
        """Return the true trimmer capacitances in F, shape (channel, 4)."""
        with self._lock:
            values = [axis.capacitance for axis in self._axes.values()]
        return np.array(values).reshape(self.channel_count, 4)

    # The receivers

    @property
    def spin_frequency(self) -> float:
        """Larmor frequency of the spins in the phantom in Hz, off resonance included."""
        return self.frequencies[0] + self._settings.off_resonance

    def sample(
        self,
        shots: Sequence[Shot],
        channels: Sequence[int],
        lo_frequency: float,
        start: float,
        interval: float,
        count: int,
    ) -> Complex:
        """Return what receivers behind the preamplifiers of ``channels`` sample after each shot's trigger.

        Parameters
        ----------
        shots
            Noise and signal of a shot are the same whoever asks with the same window, in any order.
        channels
            Counted from 0.
        lo_frequency
            Hz; the oscillator's phase is 0 at every trigger.
        start, interval
            Opening of the window after the trigger, and between output samples, s.
        count
            Output samples.

        Returns
        -------
        Shape (shot, channel, count): complex envelope in V (peak), right-handed, through a six-stage CIC.
        Sample n has its effective centre at start + (n - 2) interval; the first six are settling.

        Raises
        ------
        ValueError
            A channel does not exist, or the window is empty or its interval not above 0.
        """
        chosen = list(channels)
        if not all(0 <= channel < self.channel_count for channel in chosen):
            raise ValueError(f"channels run from 0 to {self.channel_count - 1}; got {chosen}")
        if count < 1 or not interval > 0.0:
            raise ValueError(f"a window needs samples and an interval above 0; got {count} and {interval} s")
        window = Window(lo_frequency, start, interval, count)
        with self._listening:
            with self._lock:
                state, loaded, chain = self._state, self._load is not None, self.receive_chain(lo_frequency)
            samples = self._listener.sample(shots, window, state, chain, loaded=loaded)
        result = np.empty((len(shots), len(chosen), count), dtype=np.complex128)
        for row, values in enumerate(samples):
            result[row] = values[chosen]
        return result

    def receive_chain(self, lo_frequency: float) -> Chain:
        """Return array and preamplifiers as they are now, for a local oscillator in Hz."""
        ports = slice(0, self.channel_count)
        response = self.response(np.array([self.spin_frequency, lo_frequency]))
        density = noise.wave_density(
            response.scattering[1, ports, ports], self._settings.temperature, self._settings.noise_figure_db
        )
        return Chain(
            response.currents[0, :, ports], density, self.spin_frequency, self._settings.preamp_gain_db
        )

    def noise_covariance(self, lo_frequency: float, interval: float) -> Complex:
        """Return E[v v^H] in V^2 that settled noise samples must show now, shape (channel, channel).

        Successive samples correlate as `hil_fixtures.physics.cic.noise_autocorrelation` says.
        """
        chain = self.receive_chain(lo_frequency)
        return noise.sample_covariance(chain.density, chain.gain_db, interval)

    # The trimmers

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of all trimmer axes."""
        return tuple(self._axes)

    def axis_limits(self, name: str) -> tuple[int, int]:
        """Return the ends of an axis's travel in steps.

        Raises
        ------
        ValueError
            There is no such axis.
        """
        self._axis(name)
        return trimmers.MINIMUM, trimmers.MAXIMUM

    def axis_position(self, name: str) -> int:
        """Return an axis's step count; errors as `axis_limits`."""
        with self._lock:
            return self._axis(name).counted

    def move_axis(self, name: str, target: int) -> None:
        """Turn an axis to a step count; the capacitance follows with the gear's play.

        Raises
        ------
        ValueError
            There is no such axis, or the target is outside its travel.
        """
        with self._lock:
            self._state += 1
            try:
                self._axis(name).move(target)
            except ValueError as error:
                error.add_note(f"axis {name}")
                raise

    def move_axes(self, targets: Mapping[str, int]) -> None:
        """Move axes to their targets from below, so that the play is taken up; errors as `move_axis`."""
        for name, target in targets.items():
            self.move_axis(name, max(trimmers.MINIMUM, target - _RUN_UP))
            self.move_axis(name, target)

    def home_axis(self, name: str) -> None:
        """Run an axis to its lower end and count from there; errors as `axis_limits`."""
        with self._lock:
            self._state += 1
            self._axis(name).home()

    def set_grip(self, name: str, part: float) -> None:
        """Let only ``part`` of an axis's motion reach its screw while its count goes on as if all was well.

        Parameters
        ----------
        part
            1 sound, 0 stuck, 0.9 slipping by 10 %.

        Raises
        ------
        ValueError
            There is no such axis, or the part is not from 0 to 1.
        """
        with self._lock:
            self._axis(name).set_grip(part)

    def reference_positions(self) -> dict[str, int]:
        """Return step counts at which every port is matched at its frequency, approached from below.

        Solved with the true circuit under the present load, other ports terminated, no bias: tests that
        need a tuned array take it from here; what shall be tested must find it by measuring.

        Raises
        ------
        ValueError
            This array cannot be tuned within the travel of its trimmers.
        """
        with self._lock:
            load = self._load
            start = self.capacitances()
        frequencies = np.array(self.frequencies)
        matched = match_ports(
            self._circuit.fixed, loop_impedance(self._circuit, load, frequencies), start, frequencies
        )
        return {
            name: round(axis.scale.position(float(value)))
            for (name, axis), value in zip(self._axes.items(), matched.ravel(), strict=True)
        }

    def best_reflections(self) -> Attainable:
        """Return how well this array can be tuned within its travel, under the present load.

        The truth beside which a tuner's success is judged; nothing moves. A stuck axis (`set_grip`) stays
        and its port is not asked for.

        Raises
        ------
        ValueError
            No trimmer setting whatever matches this array.
        """
        with self._lock:
            circuit, load, axes = self._circuit, self._load, copy.deepcopy(self._axes)
        return best_reflections(circuit, load, axes, np.array(self.frequencies))

    def _axis(self, name: str) -> Axis:
        try:
            return self._axes[name]
        except KeyError:
            raise ValueError(f"no axis called {name!r}; there are {', '.join(self._axes)}") from None

    # What changes a finished array

    def rework(self, part: str, change: float) -> None:
        """Change a fixed part of a channel, as `hil_fixtures.physics.rework` names them, by F or H.

        Raises
        ------
        ValueError
            There is no such part, or nothing of it would be left.
        """
        with self._lock:
            self._state += 1
            self._circuit = rework(self._circuit, self._axes, part, change)

    def drift(self, part: float) -> None:
        """Let every trimmer's capacitance grow by ``part`` of itself, as a change of temperature does."""
        with self._lock:
            self._state += 1
            for axis in self._axes.values():
                axis.drift(part)

    def reshape_loops(self, inductance: float, loss: float = 1.0) -> None:
        """Multiply the loops' inductances, self and mutual, and their copper's resistance.

        Raises
        ------
        ValueError
            A factor is not above 0.
        """
        if not (inductance > 0.0 and loss > 0.0):
            raise ValueError(f"factors are above 0; got {inductance} and {loss}")
        with self._lock:
            self._state += 1
            self._circuit = replace(
                self._circuit,
                inductance=self._circuit.inductance * inductance,
                loss=self._circuit.loss * loss,
            )

    # Bias, load, outputs

    def set_bias(self, channel: int, current_a: float) -> None:
        """Set the PIN detuning current of a channel (counted from 1) in A.

        Raises
        ------
        ValueError
            There is no such channel, or the current is negative.
        """
        if not 1 <= channel <= self.channel_count:
            raise ValueError(f"no channel {channel}; there are 1 to {self.channel_count}")
        if not current_a >= 0.0:
            raise ValueError(f"a PIN diode's forward bias is not negative; got {current_a} A")
        with self._lock:
            self._state += 1
            self._bias_before = self._bias.copy()
            self._bias[channel - 1] = current_a
            watchers = tuple(self._bias_watchers)
        for watcher in watchers:
            watcher()

    def bias(self, channel: int) -> float:
        """Return the PIN detuning current in A of a channel (counted from 1); errors as `set_bias`."""
        if not 1 <= channel <= self.channel_count:
            raise ValueError(f"no channel {channel}; there are 1 to {self.channel_count}")
        with self._lock:
            return float(self._bias[channel - 1])

    def bias_step(self) -> tuple[Real, Real]:
        """Return all channels' currents in A before and after the last change of any, each (channel,)."""
        with self._lock:
            return self._bias_before.copy(), self._bias.copy()

    def watch_bias(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` after every change of a bias, on the thread that changes it."""
        with self._lock:
            self._bias_watchers.append(watcher)

    @property
    def load(self) -> Load | None:
        """The sphere in the array, or None when it is empty."""
        with self._lock:
            return self._load

    def set_load(self, conductivity: float | None = None) -> None:
        """Put the phantom in, with another conductivity in S/m if given, else with its own.

        Raises
        ------
        ValueError
            The conductivity is negative.
        """
        value = self._own_conductivity if conductivity is None else conductivity
        if not value >= 0.0:
            raise ValueError(f"a conductivity is not negative; got {value} S/m")
        with self._lock:
            self._state += 1
            self._load = self._sphere(value)

    def _sphere(self, conductivity: float) -> Load:
        return Load(self._settings.phantom.radius_m, conductivity, self._settings.load_permittivity)

    def remove_load(self) -> None:
        """Take the phantom out: no losses, no signal."""
        with self._lock:
            self._state += 1
            self._load = None

    def rf_output(self, source: str, on: bool) -> None:
        """Note that a simulated instrument's RF output is on or off."""
        with self._lock:
            self._outputs[source] = on

    @property
    def rf_outputs(self) -> dict[str, bool]:
        """Which RF outputs have been noted, and whether they are on."""
        with self._lock:
            return dict(self._outputs)
