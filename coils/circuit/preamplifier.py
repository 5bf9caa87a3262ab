"""Preamplifier decoupling: lossless networks that match for noise and keep current out of the coil.

The amplifier wants to see ``Z_opt`` and shows ``Z_in``. Behind a lossless reciprocal network that turns the
coil into ``Z_opt``, the coil's current is that of the power-matched coil divided by ``|1 - rho e^{j phi}|``
with ``|rho| = |(Z_in - Z_opt*) / (Z_in + Z_opt)|``: all networks differ by the phase phi alone. The best
phase gives ``-20 log10(1 - |rho|)`` dB of decoupling, the worst makes the coil more of a neighbour than a
50 ohm amplifier does.

Roemer et al., Magn Reson Med 16:192 (1990); Reykowski, Wright and Porter, Magn Reson Med 33:848 (1995). The
coil's impedance is that at a port in series with its current (across a capacitor of the loop a phase is
added).
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from coils.circuit.netlist import capacitor, inductor

if TYPE_CHECKING:
    from coils.circuit.netlist import Part


@dataclass(frozen=True, slots=True)
class Amplifier:
    """What matters of a preamplifier at one frequency.

    Parameters
    ----------
    input_impedance
        Ohm; 1 to 5 ohm real for those made for arrays.
    noise_optimum
        Source impedance of lowest noise figure, ohm.
    """

    input_impedance: complex
    noise_optimum: complex = 50.0 + 0.0j

    def mismatch(self) -> complex:
        """Return rho: the reflection of the input for waves that ``noise_optimum`` sends."""
        optimum = self.noise_optimum
        return (self.input_impedance - optimum.conjugate()) / (self.input_impedance + optimum)


def decoupling_db(amplifier: Amplifier, phase: float = 0.0) -> float:
    """Return how much less current than in the power-matched coil flows, in dB.

    Parameters
    ----------
    amplifier
        Behind a lossless network that matches it for noise.
    phase
        Radians from the best; pi is the worst. A line of electrical length theta adds 2 theta.

    Notes
    -----
    For a real input r and a real optimum R > r the best is ``20 log10((R + r) / (2 r))``.
    """
    return -20.0 * math.log10(abs(1.0 - abs(amplifier.mismatch()) * cmath.exp(1j * phase)))


@dataclass(frozen=True, slots=True)
class ReactanceMatrix:
    """A lossless reciprocal two-port ``V = j X I``; port 1 is the coil, port 2 the amplifier; ohm."""

    x11: float
    x12: float
    x22: float

    def output_impedance(self, coil: complex) -> complex:
        """Return what the amplifier sees in ohm."""
        return 1j * self.x22 + self.x12**2 / (coil + 1j * self.x11)

    def input_impedance(self, load: complex) -> complex:
        """Return what the coil sees in ohm."""
        return 1j * self.x11 + self.x12**2 / (load + 1j * self.x22)


def matching_reactances(coil: complex, amplifier: Amplifier, *, worst: bool = False) -> ReactanceMatrix:
    """Return the network that matches for noise and decouples best (or worst, for comparison).

    Parameters
    ----------
    coil
        Impedance of the coil at a port in series with its current, ohm.
    amplifier
        Its input and its optimum.
    worst
        The other extreme of the phase.

    Raises
    ------
    ValueError
        A resistance is not positive; or the optimum lies at infinite reactances, which happens when ``Z_in
        + Z_opt`` is real and the input resistance exceeds the optimum's (or for the worst phase when it
        does not).

    Notes
    -----
    Noise matching leaves one freedom ``u = X_opt - x22``: ``x12^2 = R_c (R_opt^2 + u^2)/R_opt``, ``x11 =
    -X_c - R_c u/R_opt``. The coil's total impedance is proportional to ``sqrt((R_opt^2 + u^2)/(r^2 + (x -
    u)^2))`` with ``r = Re Z_in`` and ``x = X_in + X_opt``; its extremes are the roots of ``x u^2 - (r^2 +
    x^2 - R_opt^2) u - x R_opt^2 = 0``.
    """
    optimum, load = amplifier.noise_optimum, amplifier.input_impedance
    if min(coil.real, optimum.real, load.real) <= 0.0:
        raise ValueError("coil, noise optimum and input need positive resistances")
    x = load.imag + optimum.imag
    middle = load.real**2 + x**2 - optimum.real**2
    if x == 0.0:
        roots = [0.0]
    else:
        # the stable pair of roots: their product is -R_opt^2
        large = (middle + math.copysign(math.hypot(middle, 2.0 * x * optimum.real), middle)) / (2.0 * x)
        roots = [large, -(optimum.real**2) / large]

    def total(u: float) -> float:
        return (optimum.real**2 + u**2) / (load.real**2 + (x - u) ** 2)

    # Without reactance the other extreme lies at infinite u, where the total is 1.
    chosen = min(roots, key=total) if worst else max(roots, key=total)
    if x == 0.0 and total(0.0) != 1.0 and worst == (total(0.0) > 1.0):
        raise ValueError(
            "the extreme asked for needs infinite reactances: add a line or a reactance at the "
            "amplifier's input"
        )
    x12 = math.sqrt(coil.real * (optimum.real**2 + chosen**2) / optimum.real)
    return ReactanceMatrix(-coil.imag - coil.real * chosen / optimum.real, x12, optimum.imag - chosen)


@dataclass(frozen=True, slots=True)
class ThreeElements:
    """Three reactances that realise a network at one frequency.

    Parameters
    ----------
    shape
        ``"T"``: coil side, amplifier side, and the stem to ground. ``"Pi"``: across the coil, across the
        amplifier, and the bridge between them.
    reactances
        Ohm, in that order; positive is an inductor.
    frequency
        Hz.
    """

    shape: Literal["T", "Pi"]
    reactances: tuple[float, float, float]
    frequency: float

    def values(self) -> tuple[tuple[Literal["L", "C"], float], ...]:
        """Return each element's kind and value in H or F."""
        omega = 2.0 * math.pi * self.frequency
        return tuple(("L", x / omega) if x > 0.0 else ("C", -1.0 / (omega * x)) for x in self.reactances)

    def parts(self, coil: str, amplifier: str, ground: str) -> tuple[Part, ...]:
        """Return the elements as parts of a netlist between three nodes; a T adds the node ``"stem"``."""
        ends = {
            "T": ((coil, "stem"), ("stem", amplifier), ("stem", ground)),
            "Pi": ((coil, ground), (amplifier, ground), (coil, amplifier)),
        }[self.shape]
        make = {"L": inductor, "C": capacitor}
        return tuple(
            make[kind](f"{self.shape}{number}", *nodes, value)
            for number, ((kind, value), nodes) in enumerate(zip(self.values(), ends, strict=True), 1)
        )


def three_elements(matrix: ReactanceMatrix, frequency: float) -> tuple[ThreeElements, ...]:
    """Return the realisations of a lossless network with three elements: T and Pi, both signs of x12.

    Parameters
    ----------
    matrix
        From `matching_reactances`.
    frequency
        Hz.

    Returns
    -------
    Up to four; one that needs an element of no or infinite reactance is left out.
    """
    found = []
    for x12 in (matrix.x12, -matrix.x12):
        determinant = matrix.x11 * matrix.x22 - x12**2
        tee = (matrix.x11 - x12, matrix.x22 - x12, x12)
        found.append(ThreeElements("T", tee, frequency))
        # the inverse of jX is -j adj(X)/det: Pi branches are its row sums and minus its off-diagonal
        branches = ((matrix.x22 - x12), (matrix.x11 - x12), x12)
        if all(branch != 0.0 for branch in branches) and determinant != 0.0:
            across = tuple(determinant / branch for branch in branches)
            found.append(ThreeElements("Pi", (across[0], across[1], across[2]), frequency))
    return tuple(network for network in found if all(x != 0.0 for x in network.reactances))
