"""Traces from files: one-port Touchstone, two-port Touchstone of two probes, and NPL's text tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coils.resonance.fit import fit_resonance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from coils.resonance.model import Kind, Resonance

#: How far from the grid a rounded frequency may lie, in last digits: half for its own rounding, half for that
#: of the ends.
_ROUNDING_SLACK: Final = 1.02


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace of a file.

    Parameters
    ----------
    frequencies
        Hz, shape (point,).
    s
        Shape (point,).
    kind
        ``"reflection"`` or ``"transmission"``.
    through
        Magnitude of S21 with the cables joined, 1 for a calibrated analyzer.
    """

    frequencies: NDArray[np.float64]
    s: NDArray[np.complex128]
    kind: Kind
    through: float = 1.0


def fit_touchstone(path: Path) -> Resonance:
    """Fit the resonance in a Touchstone file or an NPL text file.

    Parameters
    ----------
    path
        As for `read_trace`.

    Raises
    ------
    MeasurementError
        See `fit_resonance`.
    ValueError
        The file is none of these.
    """
    return fit_trace(read_trace(path))


def fit_trace(trace: Trace) -> Resonance:
    """Fit the resonance in a trace.

    Raises
    ------
    MeasurementError
        See `fit_resonance`.
    """
    return fit_resonance(trace.frequencies, trace.s, kind=trace.kind, through=trace.through)


def read_trace(path: Path) -> Trace:
    """Read a trace with a resonance.

    Parameters
    ----------
    path
        ``.s1p`` (reflection), ``.s2p`` (S21 of two probes), or ``.txt`` with columns frequency, real and
        imaginary part as in the data of NPL Report MAT 58; the head then says ``S11`` or ``S21`` and gives
        the unit (GHz when it has no head) and, where the analyzer was not calibrated, ``thru mag.``.

    Raises
    ------
    ValueError
        The file is none of these.
    """
    suffix = path.suffix.lower()
    if suffix in (".s1p", ".s2p"):
        from skrf.network import Network

        network = Network(str(path))
        frequencies = unrounded(np.asarray(network.f, dtype=np.float64))
        if suffix == ".s1p":
            return Trace(frequencies, np.ascontiguousarray(network.s[:, 0, 0]), "reflection")
        return Trace(frequencies, np.ascontiguousarray(network.s[:, 1, 0]), "transmission")
    if suffix == ".txt":
        return _read_npl_text(path)
    raise ValueError(f"{path.name}: expected a Touchstone file (.s1p, .s2p) or an NPL text file (.txt)")


def unrounded(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the even grid that a file's rounded frequencies stand for, or the frequencies as they are.

    A file in MHz with three decimals prints steps of 1.4 kHz as 1, 2, 1, 1 kHz. Where the steps take two
    neighbouring values and no frequency is further from an even grid than rounding brings it, the grid is
    what was swept.
    """
    if frequencies.size < 3:
        return frequencies
    even = np.linspace(frequencies[0], frequencies[-1], frequencies.size)
    steps = np.diff(frequencies)
    shortest, longest = float(steps.min()), float(steps.max())
    digit = longest - shortest
    two_values = bool(np.all(np.minimum(steps - shortest, longest - steps) < 0.1 * digit))
    # a last digit apart, no more: both ends are rounded too, so two halves come together
    furthest = float(np.max(np.abs(frequencies - even)))
    return even if two_values and 0.0 < furthest <= _ROUNDING_SLACK * digit else frequencies


def _read_npl_text(path: Path) -> Trace:
    """Read a file of NPL's layout: ``%`` lines of text, then columns of numbers."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    head = "\n".join(line for line in lines if line.startswith("%"))
    try:
        rows = np.array(
            [
                [float(word) for word in line.split()[:3]]
                for line in lines
                if line.strip() and not line.startswith("%")
            ]
        )
    except ValueError:
        raise ValueError(f"{path.name}: expected columns of frequency, real and imaginary part") from None
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"{path.name}: expected columns of frequency, real and imaginary part")
    unit = next((scale for word, scale in (("MHz", 1e6), ("kHz", 1e3)) if f"% {word}" in head), 1e9)
    through = 1.0
    if "thru mag." in head:
        through = float(head.split("thru mag.")[1].split(")")[0])
    kind: Kind = "transmission" if "S21" in head else "reflection"
    return Trace(rows[:, 0] * unit, rows[:, 1] + 1j * rows[:, 2], kind, through)
