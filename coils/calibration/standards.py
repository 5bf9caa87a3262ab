"""Calibration standards as kits describe them: a short line with an open, short, load or nothing behind it.

The model and its coefficients are those printed on the cards of commercial kits: Keysight application note
1287-11, "Specifying calibration standards and kits" (5989-4840EN). All quantities in SI units: an offset loss
of 2.2 GΩ/s is 2.2e9, a C0 of 50 fF is 50e-15.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Offset losses are stated at this frequency in Hz and grow with its square root (1287-11, equation for α l).
_LOSS_FREQUENCY: Final = 1e9
#: Ohm: the system that S-parameters here refer to.
_REFERENCE: Final = 50.0

StandardKind: TypeAlias = Literal["short", "open", "load"]


@dataclass(frozen=True, slots=True)
class OffsetStandard:
    """A one-port standard behind an offset line.

    Parameters
    ----------
    kind
        What ends the line.
    offset_delay
        One way, s.
    offset_loss
        Ω/s at 1 GHz.
    offset_impedance
        Ω.
    polynomial
        Open: C0..C3 in F, F/Hz, F/Hz², F/Hz³. Short: L0..L3 in H, ... Load: its series inductance in H.
    resistance
        Of the load, Ω.
    """

    kind: StandardKind
    offset_delay: float = 0.0
    offset_loss: float = 0.0
    offset_impedance: float = 50.0
    polynomial: tuple[float, ...] = ()
    resistance: float = 50.0

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return the reflection against 50 Ω, shape (frequency, 1, 1)."""
        characteristic, propagation = _offset_line(
            frequencies, self.offset_delay, self.offset_loss, self.offset_impedance
        )
        end = self._end(frequencies, characteristic) * np.exp(-2.0 * propagation)
        # from the line's own impedance to 50 Ω
        step = (characteristic - _REFERENCE) / (characteristic + _REFERENCE)
        return np.asarray((step + end) / (1.0 + step * end), dtype=np.complex128).reshape(-1, 1, 1)

    def _end(
        self, frequencies: NDArray[np.float64], characteristic: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        """Return the reflection of what ends the line, in the line's own impedance."""
        omega = 2.0 * np.pi * frequencies
        stray = np.polynomial.polynomial.polyval(frequencies, self.polynomial or (0.0,))
        if self.kind == "open":
            admittance = 1j * omega * stray * characteristic
            return np.asarray((1.0 - admittance) / (1.0 + admittance), dtype=np.complex128)
        resistance = self.resistance if self.kind == "load" else 0.0
        impedance = (resistance + 1j * omega * stray) / characteristic
        return np.asarray((impedance - 1.0) / (impedance + 1.0), dtype=np.complex128)


@dataclass(frozen=True, slots=True)
class ThruStandard:
    """A thru or a line: parameters as in `OffsetStandard`; a flush thru has no delay."""

    offset_delay: float = 0.0
    offset_loss: float = 0.0
    offset_impedance: float = 50.0

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return S against 50 Ω, shape (frequency, 2, 2)."""
        characteristic, propagation = _offset_line(
            frequencies, self.offset_delay, self.offset_loss, self.offset_impedance
        )
        step = (characteristic - _REFERENCE) / (characteristic + _REFERENCE)
        passage = np.exp(-propagation)
        denominator = 1.0 - (step * passage) ** 2
        s = np.empty((frequencies.size, 2, 2), dtype=np.complex128)
        s[:, 0, 0] = s[:, 1, 1] = step * (1.0 - passage**2) / denominator
        s[:, 0, 1] = s[:, 1, 0] = passage * (1.0 - step**2) / denominator
        return s


@dataclass(frozen=True, slots=True)
class MeasuredStandard:
    """A standard known from a measurement, such as a Touchstone file of its calibration laboratory.

    Parameters
    ----------
    frequencies
        Hz, rising, shape (frequency,).
    s
        Shape (frequency, port, port), one or two ports, against 50 Ω.
    """

    frequencies: NDArray[np.float64] = field(repr=False)
    s: NDArray[np.complex128] = field(repr=False)

    def scattering(self, frequencies: NDArray[np.float64], /) -> NDArray[np.complex128]:
        """Return S at other frequencies by cubic interpolation.

        Raises
        ------
        ValueError
            Outside of what was measured: nothing is extrapolated.
        """
        from scipy.interpolate import CubicSpline

        low, high = self.frequencies[0], self.frequencies[-1]
        # 1 ppm: axes that went through text
        if frequencies.min() < low * (1.0 - 1e-6) or frequencies.max() > high * (1.0 + 1e-6):
            raise ValueError(
                f"the standard is known from {low:g} Hz to {high:g} Hz; asked for {frequencies.min():g} Hz "
                f"to {frequencies.max():g} Hz"
            )
        return np.asarray(CubicSpline(self.frequencies, self.s, axis=0)(frequencies), dtype=np.complex128)


Standard: TypeAlias = OffsetStandard | ThruStandard | MeasuredStandard


def _offset_line(
    frequencies: NDArray[np.float64], delay: float, loss: float, impedance: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return characteristic impedance and γ l of an offset line (1287-11, appendix A)."""
    omega = 2.0 * np.pi * frequencies
    skin = loss * np.sqrt(frequencies / _LOSS_FREQUENCY)
    characteristic = impedance + (1.0 - 1j) * skin / (2.0 * omega)
    attenuation = skin * delay / (2.0 * impedance)
    propagation = attenuation + 1j * (omega * delay + attenuation)
    return np.asarray(characteristic, dtype=np.complex128), np.asarray(propagation, dtype=np.complex128)
