"""A coil as its builder thinks of it: loops on a sample, parts of stated quality, ports for one nucleus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from coils.circuit.array import ArrayCircuit, Solution, solve
from coils.circuit.elements import Capacitor, Inductor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coils.circuit.elements import Complex, Real


@dataclass(frozen=True, slots=True)
class Loops:
    """Coupled loops: conductors whose resistance follows skin effect, on a sample that conducts.

    Parameters
    ----------
    inductance
        H, shape (loop, loop).
    copper
        Resistance of each loop at 1 MHz in ohm, shape (loop,); rises with the root of frequency.
    sample
        Resistance matrix of the sample at 1 MHz in ohm, shape (loop, loop); rises with its square.
    sample_waves
        What the wavelength in the sample adds, at 1 MHz in ohm, shape (loop, loop); rises with the fourth
        power, the first term of the full-wave correction. None: nothing.
    """

    inductance: Real
    copper: Real
    sample: Real
    sample_waves: Real | None = None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises
        ------
        ValueError
            The matrices and the vector are of different sizes.
        """
        count = self.copper.size
        if self.inductance.shape != (count, count) or self.sample.shape != (count, count):
            raise ValueError(
                f"{count} resistances, inductances of shape {self.inductance.shape} and a sample of shape "
                f"{self.sample.shape}: expected ({count}, {count}) twice"
            )
        if self.sample_waves is not None and self.sample_waves.shape != (count, count):
            raise ValueError(
                f"what waves add has shape {self.sample_waves.shape}: expected ({count}, {count})"
            )

    @property
    def count(self) -> int:
        """Number of loops."""
        return self.copper.size

    def resistance(self, frequencies: Real) -> Real:
        """Return the resistance matrix in ohm, shape (frequency, loop, loop)."""
        mega = np.asarray(frequencies, dtype=np.float64)[:, None, None] / 1e6
        return np.asarray(self.sample_resistance(frequencies) + np.diag(self.copper) * np.sqrt(mega))

    def sample_resistance(self, frequencies: Real) -> Real:
        """Return the sample's share of the resistance matrix in ohm, shape (frequency, loop, loop)."""
        mega = np.asarray(frequencies, dtype=np.float64)[:, None, None] / 1e6
        waves = 0.0 if self.sample_waves is None else self.sample_waves * mega**2
        return np.asarray((self.sample + waves) * mega**2)

    def impedance(self, frequencies: Real) -> Complex:
        """Return the impedance matrix in ohm, shape (frequency, loop, loop)."""
        omega = 2.0 * np.pi * np.asarray(frequencies)[:, None, None]
        return np.asarray(self.resistance(frequencies) + 1j * omega * self.inductance)


def single_loop(
    inductance: float, frequencies: tuple[float, float], resistances: tuple[float, float]
) -> Loops:
    """Return one loop from its inductance and what it loses at two frequencies.

    Parameters
    ----------
    inductance
        H.
    frequencies
        Hz, different.
    resistances
        Of copper and sample together at them, ohm. They are split into a part that rises with the root of
        frequency and one that rises with its square, which is exact at both.

    Raises
    ------
    ValueError
        The resistances rise by less than the root or more than the square of frequency.
    """
    low, high = (frequency / 1e6 for frequency in frequencies)
    laws = np.array([[np.sqrt(low), low**2], [np.sqrt(high), high**2]])
    copper, sample = np.linalg.solve(laws, np.asarray(resistances))
    if min(copper, sample) < -1e-12 * max(resistances):
        raise ValueError(
            f"{resistances[0]:.4g} and {resistances[1]:.4g} ohm at {low:.4g} and {high:.4g} MHz are no sum "
            "of copper (root of frequency) and sample (its square): check Q and which is which"
        )
    return Loops(
        np.array([[inductance]]), np.array([max(copper, 0.0)]), np.array([[max(float(sample), 0.0)]])
    )


@dataclass(frozen=True, slots=True)
class PartQuality:
    """Quality factors of the parts at hand.

    Parameters
    ----------
    capacitor_q, inductor_q
        At ``frequency``. 900 is a usual porcelain trimmer or chip, 220 a solenoid of 5 mm.
    capacitor_exponent, inductor_exponent
        Their powers of frequency; an inductor of skin-effect resistance has 0.5.
    frequency
        Hz.
    """

    capacitor_q: float = 900.0
    inductor_q: float = 220.0
    capacitor_exponent: float = 0.0
    inductor_exponent: float = 0.5
    frequency: float = 33.8e6

    def capacitor(self, name: str, farad: Real) -> Capacitor:
        """Return capacitors of this quality, shape (channel,)."""
        at_one = self.capacitor_q / (self.frequency / 1e6) ** self.capacitor_exponent
        return Capacitor(name, farad, at_one, self.capacitor_exponent)

    def inductor(self, name: str, henry: Real) -> Inductor:
        """Return inductors of this quality, shape (channel,)."""
        at_one = self.inductor_q / (self.frequency / 1e6) ** self.inductor_exponent
        return Inductor(name, henry, at_one, self.inductor_exponent)


@dataclass(frozen=True, slots=True)
class Tap:
    """Ports that sit on one section of every channel of a bank, and the two parts that match them.

    Parameters
    ----------
    bank, section
        Indices; the section has an arm.
    frequency
        Where these ports shall not reflect, Hz.
    tune
        Name of the capacitor across the section.
    match
        Name of the capacitor in series with the port.
    """

    bank: int
    section: int
    frequency: float
    tune: str
    match: str


@dataclass(frozen=True, slots=True)
class Coil:
    """A coil.

    Parameters
    ----------
    loops
        Conductors and sample.
    circuit
        What hangs in the loops.
    taps
        One for each kind of port.
    """

    loops: Loops
    circuit: ArrayCircuit
    taps: tuple[Tap, ...]

    def solve(self, frequencies: Real | Sequence[float]) -> Solution:
        """Solve the coil at frequencies in Hz, all ports terminated in 50 ohm."""
        axis = np.asarray(frequencies, dtype=np.float64)
        return solve(self.circuit, axis, self.loops.impedance(axis))

    def with_values(self, values: Sequence[Mapping[str, Real]]) -> Coil:
        """Return the coil with other element values; one mapping for each bank."""
        return replace(self, circuit=self.circuit.with_values(values))

    def values(self) -> tuple[dict[str, Real], ...]:
        """Return every element's value, by name, for each bank."""
        return tuple(
            {element.name: element.value for element in bank.elements()} for bank in self.circuit.banks
        )

    def ports(self, tap: Tap) -> tuple[int, ...]:
        """Return the indices in S of a tap's ports, channel by channel.

        Raises
        ------
        ValueError
            The tap's section has no arm.
        """
        arm = self.circuit.banks[tap.bank].sections[tap.section].arm
        if arm is None:
            raise ValueError(f"section {tap.section} of bank {tap.bank} has no port")
        return tuple(int(port) for port in arm.ports)


@dataclass(frozen=True, slots=True)
class PortPerformance:
    """What one port is worth at its frequency.

    Parameters
    ----------
    port
        Index in S.
    frequency
        Hz.
    reflection_db, isolation_db
        |S_ii|, and the largest |S_ij| to any other port, in dB.
    part_snr
        SNR over that with lossless parts: what matching, trap and trimmers cost. The loop's copper and the
        sample count as unavoidable here.
    sample_snr
        SNR over that of a coil without any loss but the sample's.
    """

    port: int
    frequency: float
    reflection_db: float
    isolation_db: float
    part_snr: float
    sample_snr: float


def performance(coil: Coil) -> tuple[PortPerformance, ...]:
    """Return what each port is worth at its own frequency, in the order of S.

    Notes
    -----
    An emf e in a loop sends ``T e / 2`` out of a port, T the loop's current for a unit wave into it; a
    resistance R in the loops thus sends ``k T B T^H R T``. All parts at one temperature, terminations
    noiseless, send ``k T B (1 - sum |S_ij|^2)``. The ratio is the square of the SNR factor; it does not
    depend on match or isolation, which lose signal and noise alike.
    """
    rows = []
    for tap in coil.taps:
        axis = np.array([tap.frequency])
        solution = coil.solve(axis)
        currents = solution.currents()[0]
        loops = coil.loops.resistance(axis)[0]
        sample = coil.loops.sample_resistance(axis)[0]
        for port in coil.ports(tap):
            row = solution.s[0, port]
            current = currents[:, port]
            emitted = 1.0 - float(np.sum(np.abs(row) ** 2))
            shares = [float((current.conj() @ part @ current).real) / emitted for part in (loops, sample)]
            others = np.delete(np.abs(row), port)
            rows.append(
                PortPerformance(
                    port,
                    tap.frequency,
                    float(20.0 * np.log10(np.abs(row[port]) + 1e-30)),
                    float(20.0 * np.log10(np.max(others, initial=0.0) + 1e-30)),
                    float(np.sqrt(shares[0])),
                    float(np.sqrt(max(shares[1], 0.0))),
                )
            )
    return tuple(sorted(rows, key=lambda each: each.port))
