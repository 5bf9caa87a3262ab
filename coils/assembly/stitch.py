"""Assemble an N-port from sweeps of a few of its ports, exactly for loads that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.assembly.cables import Suspicion, suspect_connections
from coils.assembly.partial import PartialSweep, require_one_axis
from coils.assembly.waves import from_terminated_waves, to_terminated_waves

if TYPE_CHECKING:
    from collections.abc import Sequence

    import skrf
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Assembly:
    """An assembled N-port.

    Parameters
    ----------
    frequencies
        Hz, shape (frequency,).
    s
        Shape (frequency, port, port), against the reference impedance of the sweeps; nan where not measured.
    count
        How many sweeps went into each entry, shape (port, port).
    loads
        Reflections of the ports' loads, shape (frequency, port).
    spread
        Root mean square difference of each port's reflection between the sweeps from their mean, corrected
        for the number of sweeps (an estimate of the repeatability), shape (port,); nan where seen once.
    suspicions
        Connections that disagreed with the others and were left out.
    incomplete
        Places of the sweeps that were left out because they hold nan.
    filled
        As ``s``, with nothing in place of what is missing: for the propagation of errors, not a result.
    """

    frequencies: NDArray[np.float64]
    s: NDArray[np.complex128]
    count: NDArray[np.int64]
    loads: NDArray[np.complex128]
    spread: NDArray[np.float64]
    suspicions: tuple[Suspicion, ...]
    incomplete: tuple[int, ...]
    filled: NDArray[np.complex128]

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Pairs of ports, from 1, that no accepted sweep has measured; (i, i) for a port never seen."""
        absent = np.argwhere(np.triu((self.count == 0) | (self.count.T == 0)))
        return tuple((int(one) + 1, int(other) + 1) for one, other in absent)

    @property
    def masked(self) -> np.ma.MaskedArray[tuple[int, ...], np.dtype[np.complex128]]:
        """``s`` as a masked array: arithmetic skips what was not measured."""
        return np.ma.masked_array(self.s, mask=np.broadcast_to(self.count == 0, self.s.shape))

    def missing_error(self, largest: float | None = None) -> NDArray[np.float64]:
        """Return the largest error that the missing entries can cause in the measured ones.

        The waves that enter missing pairs come back from their loads into measured entries. With D what is
        missing of S', the change of S is (1 - S Γ) D (1 + Γ (1 - S Γ) D)⁻¹ (1 - Γ S); each factor is bounded.

        Parameters
        ----------
        largest
            No missing entry of S', the matrix in waves that vanish in the loads, is larger. None: what holds
            for any passive device, 1/(1 - |Γ|).

        Returns
        -------
        Shape (frequency, port, port); infinite where the bound says nothing; nan where not measured.
        """
        if largest is None:
            largest = float(1.0 / (1.0 - np.abs(self.loads).max()))
        left, right = self._gradients()
        absent = largest * (self.count == 0).astype(float)
        feedback = np.abs(self.loads[:, :, None] * left) @ absent
        series = np.linalg.inv(np.eye(absent.shape[0]) - feedback)
        diverges = np.abs(np.linalg.eigvals(feedback)).max(axis=-1) >= 1.0
        error = np.abs(left) @ absent @ series @ np.abs(right)
        error = np.where(diverges[:, None, None], np.inf, error)
        return np.where(self.count > 0, error, np.nan)

    def uncertainty(self, noise: float, load_uncertainty: float = 0.0) -> NDArray[np.float64]:
        """Return the standard uncertainty of each complex entry.

        Parameters
        ----------
        noise
            Standard deviation of a complex S-parameter of a sweep.
        load_uncertainty
            Standard uncertainty of each load's complex reflection.

        Returns
        -------
        Shape (frequency, port, port): noise, averaged where measured more than once and carried through the
        assembly, and the loads' share √Σ_k |S_ik S_kj|² u_Γ² over the ports k that were not connected.
        """
        left, right = self._gradients()
        each = np.where(self.count > 0, noise**2 / np.maximum(self.count, 1), 0.0)
        variance = np.abs(left) ** 2 @ each @ np.abs(right) ** 2
        power = np.abs(self.filled) ** 2
        own = np.einsum("fii->fi", power)
        through = power @ power
        # ports i and j themselves were connected
        through -= own[:, :, None] * power + power * own[:, None, :]
        diagonal = np.arange(power.shape[-1])
        through[:, diagonal, diagonal] += own**2
        variance = variance + load_uncertainty**2 * np.maximum(through, 0.0)
        return np.where(self.count > 0, np.sqrt(variance), np.nan)

    def network(self, reference_impedance: float = 50.0) -> skrf.Network:
        """Return the whole matrix for Touchstone and scikit-rf, which know no missing entries.

        Raises
        ------
        MeasurementError
            Pairs are missing; all are named.
        """
        if missing := self.missing:
            pairs = ", ".join(f"{one}-{other}" for one, other in missing)
            reasons = "".join(f"; {suspicion}" for suspicion in self.suspicions)
            raise MeasurementError(
                f"the matrix has no measured value for ports {pairs}{reasons}; measure them"
            )
        from skrf.network import Network

        return Network(f=self.frequencies, f_unit="Hz", s=self.s, z0=reference_impedance)

    def _gradients(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return 1 - S Γ and 1 - Γ S: dS = (1 - S Γ) dS' (1 - Γ S)."""
        identity = np.eye(self.filled.shape[-1])
        return identity - self.filled * self.loads[:, None, :], identity - self.loads[
            :, :, None
        ] * self.filled


def assemble(
    parts: Sequence[PartialSweep],
    loads: NDArray[np.complex128],
    *,
    noise: float,
    leave_out_suspects: bool = True,
) -> Assembly:
    """Assemble the S-matrix of a device from sweeps of some of its ports.

    Parameters
    ----------
    parts
        Sweeps with one frequency axis; any number of ports in each, any pair more than once.
    loads
        Reflection of the load on each port of the device whenever it was not connected, against the
        reference impedance of the sweeps: shape (frequency, port) or (port,). Zeros: ideal loads.
    noise
        Standard deviation of a complex S-parameter between connections (noise, cables, connectors): decides
        which connections are suspicious.
    leave_out_suspects
        Whether connections that disagree with the others (`suspect_connections`) are left out; their pairs
        are then missing unless measured elsewhere.

    Raises
    ------
    ValueError
        The sweeps do not fit each other or the loads; the noise is not positive.
    MeasurementError
        No usable sweep is left.

    Notes
    -----
    Without noise and with known loads exact to rounding. Entries measured more than once are averaged.
    """
    axis = require_one_axis(tuple(parts))
    table = _load_table(np.asarray(loads, dtype=np.complex128), axis.size)
    _require_ports(parts, table.shape[1])
    incomplete = tuple(place for place, part in enumerate(parts) if not np.isfinite(part.s).all())
    whole = [place for place in range(len(parts)) if place not in incomplete]
    suspicions = (
        _in_list(suspect_connections([parts[p] for p in whole], table, noise), whole) if whole else ()
    )
    doubtful = {suspicion.index for suspicion in suspicions} if leave_out_suspects else set[int]()
    used = [parts[place] for place in whole if place not in doubtful]
    if not used:
        raise MeasurementError(
            f"no connection is left to assemble; is the noise really {noise:g}? "
            + "; ".join(map(str, suspicions))
        )
    total, square, count = _accumulate(used, table)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    s = from_terminated_waves(mean, table)
    return Assembly(
        frequencies=axis,
        s=np.where(count > 0, s, complex(np.nan, np.nan)),
        count=count,
        loads=table,
        spread=_spread(total, square, count),
        suspicions=suspicions,
        incomplete=incomplete,
        filled=s,
    )


def _load_table(loads: NDArray[np.complex128], points: int) -> NDArray[np.complex128]:
    if loads.ndim not in {1, 2} or (loads.ndim == 2 and loads.shape[0] != points):
        raise ValueError(
            f"loads need shape (port,) or ({points}, port), one row for each frequency; got {loads.shape}"
        )
    if not np.isfinite(loads).all():
        raise ValueError("every port needs a known load; some reflections are not finite")
    return np.broadcast_to(loads, (points, loads.shape[-1]))


def _require_ports(parts: Sequence[PartialSweep], ports: int) -> None:
    highest = max(port for part in parts for port in part.ports)
    if highest > ports:
        raise ValueError(f"loads are given for {ports} ports, but a sweep was made at port {highest}")


def _in_list(suspicions: tuple[Suspicion, ...], places: list[int]) -> tuple[Suspicion, ...]:
    """Return the suspicions with places in the full list of sweeps."""
    return tuple(
        Suspicion(places[each.index], each.ports, each.explanations, each.deviation) for each in suspicions
    )


def _accumulate(
    parts: Sequence[PartialSweep], loads: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.int64]]:
    """Return sums of S', sums of |S'_ii|², and counts, all sweeps of one size converted at once."""
    points, ports = loads.shape
    total = np.zeros((points, ports, ports), dtype=np.complex128)
    square = np.zeros((points, ports))
    count = np.zeros((ports, ports), dtype=np.int64)
    for size in {len(part.ports) for part in parts}:
        group = [part for part in parts if len(part.ports) == size]
        index = np.array([part.ports for part in group]) - 1
        waves = to_terminated_waves(np.stack([part.s for part in group]), np.moveaxis(loads[:, index], 0, 1))
        for rows, block in zip(index, waves, strict=True):
            total[:, rows[:, None], rows[None, :]] += block
            square[:, rows] += np.abs(np.diagonal(block, axis1=-2, axis2=-1)) ** 2
            count[rows[:, None], rows[None, :]] += 1
    return total, square, count


def _spread(
    total: NDArray[np.complex128], square: NDArray[np.float64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the standard deviation of each port's reflection between sweeps, over all frequencies."""
    seen = np.diag(count)
    own = np.abs(np.diagonal(total, axis1=-2, axis2=-1)) ** 2
    excess = np.mean(square - own / np.maximum(seen, 1), axis=0)
    degrees = np.maximum(seen - 1, 1)
    return np.where(seen > 1, np.sqrt(np.maximum(excess, 0.0) / degrees), np.nan)
