"""What is known of a coil array from one run: a frozen record that turns into JSON and back without loss.

A record holds what the run measured and nothing else; what was not measured is None. Numbers are plain
Python numbers, matrices tuples of rows, so that two records can be compared with ``==``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from coilbench.base.verdict import Judged, Verdict, overall
from coils.quality.loading import Loading, Reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows of complex numbers; None: not measured.
Matrix: TypeAlias = tuple[tuple[complex | None, ...], ...]
#: One entry for each port; None: no statement for this port.
Readings: TypeAlias = tuple[Reading | None, ...]


@dataclass(frozen=True, slots=True)
class PortResonance:
    """A port's resonance.

    Parameters
    ----------
    frequency
        Loaded centre, Hz.
    q_loaded, q_unloaded
        With and without the port's own load; both as the sample loads the coil in this run.
    coupling
        Coupling coefficient; 1 is critical.
    """

    frequency: Reading
    q_loaded: Reading
    q_unloaded: Reading
    coupling: Reading


@dataclass(frozen=True, slots=True)
class Calibration:
    """Which calibration the S-parameters rest on.

    Parameters
    ----------
    name, kind
        Such as ``"2026-11-22 16 ports"`` and ``"SOLT"``.
    performed, expires
        UTC; ``expires`` None: never said.
    temperature
        Of the analyzer's room then, K; None: not noted.
    verdict
        Of the last check against a verification standard.
    reason
        Why it is not valid; empty when it is.
    """

    name: str
    kind: str
    performed: datetime
    expires: datetime | None
    temperature: float | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class NucleusRecord:
    """What one run measured at one nucleus' frequency; every tuple follows the order of ``ports``.

    Parameters
    ----------
    nucleus, frequency, ports
        Name, Hz, and the analyzer's ports of channel 1, 2, ...
    scattering
        S of these ports at ``frequency``.
    isolation
        |S_ij|, linear, from each port to the worst port of the other nuclei.
    resonances
        Of each port's reflection.
    refusals
        Why a port has no resonance; empty texts where it has one.
    loadings
        Q without and with the sample, and what follows.
    noise_correlation
        Predicted from S.
    snr_factor
        SNR of each port over that of the same port matched and isolated from its own nucleus' other ports;
        what goes into the other nuclei's ports is not in it.
    preamplifier_decoupling_db, detuning_db
        Loss of the coil's response, dB; larger is better.
    share_of_ultimate
        Expected SNR at the sphere's centre over the ultimate one.
    """

    nucleus: str
    frequency: float
    ports: tuple[int, ...]
    scattering: Matrix | None = None
    isolation: tuple[float, ...] | None = None
    resonances: tuple[PortResonance | None, ...] | None = None
    refusals: tuple[str, ...] | None = None
    loadings: tuple[Loading | None, ...] | None = None
    noise_correlation: Matrix | None = None
    snr_factor: tuple[float, ...] | None = None
    preamplifier_decoupling_db: Readings | None = None
    detuning_db: Readings | None = None
    share_of_ultimate: Reading | None = None

    def __post_init__(self) -> None:
        """Check that every tuple has one entry for each port.

        Raises
        ------
        ValueError
            One has not.
        """
        count = len(self.ports)
        for name in (
            "scattering",
            "isolation",
            "resonances",
            "refusals",
            "loadings",
            "noise_correlation",
            "snr_factor",
            "preamplifier_decoupling_db",
            "detuning_db",
        ):
            entries = getattr(self, name)
            if entries is not None and len(entries) != count:
                raise ValueError(
                    f"{self.nucleus}: {name} has {len(entries)} entries for {count} ports; it needs one each"
                )
        for name in ("scattering", "noise_correlation"):
            matrix = getattr(self, name)
            if matrix is not None and any(len(row) != count for row in matrix):
                raise ValueError(f"{self.nucleus}: {name} is not a square matrix of {count} ports")


@dataclass(frozen=True, slots=True)
class CoilRecord:
    """One run's statement on one coil array.

    Parameters
    ----------
    serial_number
        Of the array.
    run, kind
        Name of the run folder, and what was done (``"sweep"``, ``"tune"``, ...).
    measured
        UTC.
    field
        B0 in T.
    load
        Phantom in words.
    temperature
        Of array and load, K.
    s_uncertainty
        Expanded uncertainty (95 %) of each |S|, linear.
    calibration
        None: not known to this program (the analyzer's own, as it was).
    nuclei
        In rising order of frequency.
    judged
        Everything that was judged in the run.
    """

    serial_number: str
    run: str
    kind: str
    measured: datetime
    field: float
    load: str
    temperature: float
    s_uncertainty: float
    calibration: Calibration | None
    nuclei: tuple[NucleusRecord, ...]
    judged: tuple[Judged, ...]

    def __post_init__(self) -> None:
        """Check the time.

        Raises
        ------
        ValueError
            It is not UTC.
        """
        if self.measured.utcoffset() != timedelta(0):
            raise ValueError(f"the time of a record is UTC; got {self.measured}")
        object.__setattr__(self, "measured", self.measured.astimezone(UTC))

    @property
    def verdict(self) -> Verdict:
        """Of everything that was judged; inconclusive, whatever was found, on a calibration not valid."""
        if self.calibration is not None and self.calibration.verdict is not Verdict.PASS:
            return Verdict.INCONCLUSIVE
        return overall(self.judged)


def as_matrix(array: NDArray[np.complex128], /) -> Matrix:
    """Return an array of shape (port, port) as rows of complex numbers; what is not finite becomes None."""
    return tuple(
        tuple(complex(value) if np.isfinite(value) else None for value in row) for row in np.asarray(array)
    )


def as_array(matrix: Matrix, /) -> NDArray[np.complex128]:
    """Return rows of complex numbers as an array of shape (port, port); nan where nothing was measured."""
    return np.array(
        [[complex(np.nan, np.nan) if value is None else value for value in row] for row in matrix],
        dtype=np.complex128,
    )
