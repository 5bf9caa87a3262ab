"""What every pair of loops costs, at each nucleus, from a measured S-matrix.

Where the ports' open-loop reflections are known the couplings of all loops follow at once, signed (see
`coils.decoupling.couplings`). Else each pair is taken alone as two matched loops (`coils.resonance.matched`),
of which only |kQ| follows, and that only as far as nothing else makes the ports reflect.

A pair's cost is what `coils.covariance.snr_factor` loses against the same array without this pair's mutual
reactance: power that goes into the other channel's termination, and into the mismatch that comes along. The
factor knows the noise figure, so a coupling that costs no SNR is not dramatised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coils.covariance import snr_factor
from coils.decoupling.couplings import find_couplings
from coils.resonance import coupling_from_matched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coils.decoupling.couplings import LoopCouplings

#: Any Q for which k = kQ/Q stays below 1: kQ itself does not depend on it.
_SOME_Q: Final = 1e6
#: Standard uncertainty of |S11| as a sign of this pair's coupling: ports are matched to -20 dB, and other
#: neighbours reflect too.
_U_MATCH: Final = 0.1
#: Part of a larger |S11| that is its uncertainty as such a sign: then mistuning explains it as well.
_MISTUNED: Final = 1.0 / 3.0


@dataclass(frozen=True, slots=True, eq=False)
class NucleusData:
    """What was measured of an array at one nucleus.

    Parameters
    ----------
    nucleus
        Its name.
    frequency
        Hz.
    s
        S of all ports at this frequency, those of other nuclei included, shape (port, port).
    ports
        Port of each channel at this nucleus, from 1.
    q
        Q of each loop with its sample and its capacitors, other ports terminated, its own port's load not
        counted, shape (channel,).
    inductance
        Of each loop in H at this frequency, shape (channel,): half of dX/dω, a trap in the loop included.
    open_loop
        Reflection of each channel's port with no current in its loop, shape (channel,); None: not measured.
    preamplifier
        Reflection that each channel's port sees in operation, shape (channel,); None: not measured.
    s_uncertainty
        Standard uncertainty of the real and the imaginary part of each S, linear.
    phase_uncertainty
        Standard uncertainty of the open-loop reflections' phases, rad; see `coils.decoupling.couplings`.
    q_uncertainty
        Relative standard uncertainty of Q.
    noise_figure_db
        Of the preamplifiers.

    Raises
    ------
    ValueError
        Shapes or ports do not fit.
    """

    nucleus: str
    frequency: float
    s: NDArray[np.complex128]
    ports: tuple[int, ...]
    q: NDArray[np.float64]
    inductance: NDArray[np.float64]
    open_loop: NDArray[np.complex128] | None = None
    preamplifier: NDArray[np.complex128] | None = None
    s_uncertainty: float = 0.003
    phase_uncertainty: float = 0.1
    q_uncertainty: float = 0.03
    noise_figure_db: float = 0.5

    def __post_init__(self) -> None:
        count, shape = len(self.ports), self.s.shape
        if len(shape) != 2 or shape[0] != shape[1] or not all(1 <= port <= shape[0] for port in self.ports):
            raise ValueError(
                f"{self.nucleus}: S of shape {shape} does not have all of the ports {self.ports}"
            )
        for name in ("q", "inductance", "open_loop", "preamplifier"):
            value = getattr(self, name)
            if value is not None and value.shape != (count,):
                raise ValueError(f"{self.nucleus}: {name} has shape {value.shape}, expected ({count},)")

    @property
    def channels(self) -> NDArray[np.complex128]:
        """S of this nucleus' ports alone, in the channels' order, shape (channel, channel)."""
        index = np.asarray(self.ports) - 1
        return np.asarray(self.s[np.ix_(index, index)], dtype=np.complex128)

    @property
    def resistance(self) -> NDArray[np.float64]:
        """ω L / Q of each loop in ohm, shape (channel,)."""
        return np.asarray(2.0 * math.pi * self.frequency * self.inductance / self.q, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PairCost:
    """One pair at one nucleus.

    Parameters
    ----------
    nucleus
        Its name.
    frequency
        Hz.
    channels
        From 1.
    s_db
        |S_ij| in dB.
    kq, kq_uncertainty
        Product of the coupling coefficient and Q; of unknown sign where ``sign_known`` is False.
    sign_known
        Whether the sign of kq means anything.
    other_kq
        The other solution where |S_ij| alone leaves two; else None.
    common_resistance
        Over the geometric mean of both resistances, signed; nan where it is not known.
    mutual, mutual_uncertainty
        Mutual inductance in H.
    snr_loss
        Part of the SNR that the worse of both channels gains without this coupling.
    """

    nucleus: str
    frequency: float
    channels: tuple[int, int]
    s_db: float
    kq: float
    kq_uncertainty: float
    sign_known: bool
    other_kq: float | None
    common_resistance: float
    mutual: float
    mutual_uncertainty: float
    snr_loss: float


def cost_pairs(data: NucleusData) -> tuple[PairCost, ...]:
    """Return what every pair of channels costs, in the order (1, 2), (1, 3), ...

    Raises
    ------
    MeasurementError
        S is incomplete, or it and the open-loop reflections do not belong together, or a pair's S21 and S11
        are not those of two matched loops and no open-loop reflections are given.
    """
    couplings = (
        None
        if data.open_loop is None
        else find_couplings(
            data.channels,
            data.open_loop,
            uncertainty=data.s_uncertainty,
            phase_uncertainty=data.phase_uncertainty,
        )
    )
    now = snr_factor(data.s, data.noise_figure_db)
    count = len(data.ports)
    return tuple(
        _cost(data, couplings, (first, second), now)
        for first in range(count)
        for second in range(first + 1, count)
    )


def snr_without_coupling(data: NucleusData) -> NDArray[np.float64] | None:
    """Return each channel's SNR over that without any mutual reactance, shape (channel,); None if unknown.

    Raises
    ------
    MeasurementError
        See `cost_pairs`.
    """
    if data.open_loop is None:
        return None
    couplings = find_couplings(data.channels, data.open_loop)
    count = len(data.ports)
    for first in range(1, count + 1):
        for second in range(first + 1, count + 1):
            couplings = couplings.without(first, second)
    index = np.asarray(data.ports) - 1
    freed = data.s.copy()
    freed[np.ix_(index, index)] = couplings.scattering()
    now, then = (snr_factor(s, data.noise_figure_db)[index] for s in (data.s, freed))
    return np.asarray(now / then, dtype=np.float64)


def _cost(
    data: NucleusData, couplings: LoopCouplings | None, pair: tuple[int, int], now: NDArray[np.float64]
) -> PairCost:
    first, second = pair
    size = abs(data.channels[first, second])
    other: float | None = None
    if couplings is None:
        kq, spread, other = _kq_alone(data, pair)
        freed, common, known = _freed_alone(data, pair, kq), math.nan, False
    else:
        kq, spread = float(couplings.reactive[pair]), float(couplings.uncertainty[pair])
        freed = couplings.without(first + 1, second + 1).scattering()
        common, known = float(couplings.resistive[pair]), couplings.signs_known
    index = np.asarray(data.ports) - 1
    whole = data.s.copy()
    whole[np.ix_(index, index)] = freed
    then = snr_factor(whole, data.noise_figure_db)
    places = index[[first, second]]
    loss = float(np.max(1.0 - now[places] / then[places]))
    omega = 2.0 * math.pi * data.frequency
    per_kq = math.sqrt(data.resistance[first] * data.resistance[second]) / omega
    relative = math.hypot(spread / kq if kq else 0.0, data.q_uncertainty)
    return PairCost(
        nucleus=data.nucleus,
        frequency=data.frequency,
        channels=(first + 1, second + 1),
        s_db=20.0 * math.log10(size) if size > 0.0 else -math.inf,
        kq=kq,
        kq_uncertainty=spread,
        sign_known=known,
        other_kq=other,
        common_resistance=common,
        mutual=kq * per_kq,
        mutual_uncertainty=abs(kq) * per_kq * relative if kq else spread * per_kq,
        snr_loss=loss,
    )


def _kq_alone(data: NucleusData, pair: tuple[int, int]) -> tuple[float, float, float | None]:
    """Return |kQ|, its uncertainty and, where S11 cannot decide, the other solution."""
    block = data.channels
    size = abs(block[pair[0], pair[1]])
    own = math.sqrt(abs(block[pair[0], pair[0]] * block[pair[1], pair[1]]))
    spread = max(data.s_uncertainty, 1e-6)
    try:
        found = coupling_from_matched(size, _SOME_Q, u_s21=spread, s11=own, u_s11=_U_MATCH).candidates
    except MeasurementError:  # S11 is not this coupling's: the port is mistuned as well
        wide = max(_U_MATCH, _MISTUNED * own)
        found = coupling_from_matched(size, _SOME_Q, u_s21=spread, s11=own, u_s11=wide).candidates
    best, *rest = found
    other = rest[0].k * _SOME_Q if rest else None
    return best.k * _SOME_Q, best.uncertainty * _SOME_Q, other


def _freed_alone(data: NucleusData, pair: tuple[int, int], kq: float) -> NDArray[np.complex128]:
    """Return S of the channels with this pair's transmission gone, and what it reflects."""
    freed = data.channels.copy()
    x2 = (0.5 * kq) ** 2
    first, second = pair
    freed[first, second] = freed[second, first] = 0.0
    for place in pair:
        size = abs(freed[place, place])
        freed[place, place] *= max(1.0 - x2 / (1.0 + x2) / size, 0.0) if size else 0.0
    return freed
