"""Measure an array as it stands: S-matrix, coupling, isolation, Q, the noise it will give, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.errors import MeasurementError, RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coilbench.base.verdict import Verdict, overall
from coils.covariance import correlation, noise_covariance, snr_factor
from coils.quality import Limits, PortJudgement, judge_array
from coils.quality.comparison import COVERAGE
from coils.resonance import Resonance, fit_resonance
from coils.tuning.local_state import ArraySweep
from drivers.protocols import Abort, Segment, SweepPlan, never

if TYPE_CHECKING:
    import skrf
    from numpy.typing import NDArray

    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer

#: Half width of the sweep over its centre: several loaded bandwidths of about 1 %.
SPAN: Final = 0.05


@dataclass(frozen=True, slots=True)
class CharacterisePlan:
    """What to measure, and what the receivers behind the array are.

    Parameters
    ----------
    nuclei
        In rising order of frequency.
    limits
        What passes.
    uncertainty
        Expanded uncertainty (95 %) of each |S|, linear.
    noise_figure_db
        Of the preamplifiers.
    temperature
        Of array and sample, K.
    points
        For each nucleus.
    if_bandwidth, power_dbm
        Hz and dBm.
    """

    nuclei: tuple[NucleusPorts, ...]
    limits: Limits = field(default_factory=Limits)
    uncertainty: float = 0.005
    noise_figure_db: float = 0.7
    temperature: float = 293.15
    points: int = 201
    if_bandwidth: float = 1e3
    power_dbm: float = -10.0

    def sweep_plan(self) -> SweepPlan:
        """Return one segment around each nucleus, its frequency on the axis."""
        segments = tuple(
            Segment(group.frequency * (1.0 - SPAN), group.frequency * (1.0 + SPAN), self.points | 1)
            for group in self.nuclei
        )
        return SweepPlan(segments, self.if_bandwidth, self.power_dbm)


@dataclass(frozen=True, slots=True)
class NucleusCharacter:
    """What was measured at one nucleus' frequency.

    Parameters
    ----------
    nucleus, frequency, ports
        As planned; the arrays below follow this order of ports.
    s
        S-matrix of the nucleus' ports at ``frequency``, shape (port, port).
    isolation
        |S_ij|, linear, from each port to the worst port of the other nuclei, shape (port,); zeros without
        any.
    resonances
        Of each port's reflection; None where it is not a single resonance that spans enough.
    refusals
        Why there is none; empty texts where there is one.
    noise_covariance
        Predicted covariance of the noise waves at the receivers for 1 Hz, W, shape (port, port); the
        other nuclei's ports end in loads of the array's temperature.
    snr_factor
        SNR of each port relative to a matched, isolated one, from S and noise figure, shape (port,).
    """

    nucleus: str
    frequency: float
    ports: tuple[int, ...]
    s: NDArray[np.complex128]
    isolation: NDArray[np.float64]
    resonances: tuple[Resonance | None, ...]
    refusals: tuple[str, ...]
    noise_covariance: NDArray[np.complex128]
    snr_factor: NDArray[np.float64]

    @property
    def reflections_db(self) -> NDArray[np.float64]:
        """|S_ii| in dB, shape (port,)."""
        return np.asarray(20.0 * np.log10(np.maximum(np.abs(np.diag(self.s)), 1e-30)), dtype=np.float64)

    @property
    def noise_correlation(self) -> NDArray[np.complex128]:
        """Predicted correlation matrix of the noise, shape (port, port)."""
        return correlation(self.noise_covariance)


@dataclass(frozen=True, slots=True)
class ArrayCharacter:
    """A characterised array.

    Parameters
    ----------
    network
        The sweep; ports in rising order.
    nuclei
        In the order of the plan.
    judgements
        Every judged S-parameter.
    verdict
        Of all of them.
    """

    network: skrf.Network
    nuclei: tuple[NucleusCharacter, ...]
    judgements: tuple[PortJudgement, ...]
    verdict: Verdict


def characterise(
    analyzer: NetworkAnalyzer,
    plan: CharacterisePlan,
    *,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> ArrayCharacter:
    """Sweep all ports once around every nucleus and derive everything from it.

    Raises
    ------
    RunAborted
        ``abort`` said so.
    InstrumentError
        The analyzer failed.
    """
    if abort():
        raise RunAborted("characterisation stopped before its sweep")
    order = sorted(port for group in plan.nuclei for port in group.ports)
    analyzer.configure(plan.sweep_plan())
    return characterise_network(analyzer.sweep(order, abort=abort), plan, emit=emit)


def characterise_network(
    network: skrf.Network, plan: CharacterisePlan, *, emit: EventSink = ignore
) -> ArrayCharacter:
    """Derive everything from a sweep of all ports that has been made already.

    Parameters
    ----------
    network
        Ports of the plan in rising order, every nucleus' frequency inside; nothing is missing.

    Raises
    ------
    MeasurementError
        The array has gain: no passive array does.
    """
    order = sorted(port for group in plan.nuclei for port in group.ports)
    sweep = ArraySweep(np.asarray(network.f), np.asarray(network.s))
    groups = tuple(_character(sweep, order, group, plan) for group in plan.nuclei)
    judgements = _judge(sweep, order, plan)
    verdict = overall(row.judged for row in judgements)
    result = ArrayCharacter(network, groups, judgements, verdict)
    for group in groups:
        _tell(group, emit)
    failed = [row.judged.name for row in judgements if row.verdict is Verdict.FAIL]
    emit(
        Event(
            "characterise.finished",
            f"array characterised: {verdict}" + (f" ({', '.join(failed)})" if failed else ""),
            {"verdict": str(verdict), "failed": failed},
        )
    )
    return result


def _character(
    sweep: ArraySweep, order: list[int], group: NucleusPorts, plan: CharacterisePlan
) -> NucleusCharacter:
    """Derive one nucleus' numbers from the sweep."""
    places = np.array([order.index(port) for port in group.ports])
    foreign = np.setdiff1d(np.arange(len(order)), places)
    full = sweep.at(np.array([group.frequency]))[0]
    near = np.abs(sweep.frequencies / group.frequency - 1.0) <= SPAN * 1.001
    fits = [
        _try_fit(
            sweep.frequencies[near],
            np.ascontiguousarray(sweep.s[near, place, place]),
            plan.uncertainty / COVERAGE,
        )
        for place in places
    ]
    own = full[np.ix_(places, places)]
    # The other nuclei's ports end in loads as warm as the array, so only this nucleus' ports count.
    covariance = noise_covariance(
        own, bandwidth=1.0, temperature=plan.temperature, noise_figure_db=plan.noise_figure_db
    )
    across = np.maximum(np.abs(full[np.ix_(places, foreign)]), np.abs(full[np.ix_(foreign, places)]).T)
    return NucleusCharacter(
        nucleus=group.nucleus,
        frequency=group.frequency,
        ports=group.ports,
        s=own,
        isolation=np.asarray(np.max(across, axis=1, initial=0.0), dtype=np.float64),
        resonances=tuple(resonance for resonance, _ in fits),
        refusals=tuple(refusal for _, refusal in fits),
        noise_covariance=covariance,
        snr_factor=snr_factor(own, plan.noise_figure_db, temperature=plan.temperature),
    )


def _try_fit(
    frequencies: NDArray[np.float64], s: NDArray[np.complex128], calibration: float
) -> tuple[Resonance | None, str]:
    """Fit a port's resonance, or say why not: coupled channels may split it.

    ``calibration`` is the standard uncertainty of each |S| that the analyzer's calibration leaves, linear.
    """
    try:
        return fit_resonance(frequencies, s, analyzer=calibration), ""
    except MeasurementError as error:
        return None, str(error)


def _judge(sweep: ArraySweep, order: list[int], plan: CharacterisePlan) -> tuple[PortJudgement, ...]:
    """Judge the S-matrices by port number."""
    size = max(order)
    index = np.array(order) - 1
    at_frequency = []
    for group in plan.nuclei:
        matrix = np.full((size, size), np.nan, dtype=np.complex128)
        matrix[np.ix_(index, index)] = sweep.at(np.array([group.frequency]))[0]
        at_frequency.append((group.ports, matrix))
    return judge_array(at_frequency, plan.limits, uncertainty=plan.uncertainty)


def _tell(group: NucleusCharacter, emit: EventSink) -> None:
    levels = group.reflections_db
    coupling = np.abs(group.s - np.diag(np.diag(group.s)))
    rho = np.abs(group.noise_correlation - np.eye(len(group.ports)))
    emit(
        Event(
            "characterise.nucleus",
            f"{group.nucleus}: worst reflection {levels.max():.1f} dB, largest coupling "
            f"{20.0 * np.log10(max(float(coupling.max()), 1e-30)):.1f} dB, largest predicted noise "
            f"correlation {rho.max():.2f}",
            {
                "nucleus": group.nucleus,
                "frequency": group.frequency,
                "ports": list(group.ports),
                "reflections_db": levels.tolist(),
                "isolation_db": (20.0 * np.log10(np.maximum(group.isolation, 1e-30))).tolist(),
                "q_loaded": [None if fit is None else fit.q_loaded for fit in group.resonances],
                "largest_coupling": float(coupling.max()),
                "largest_noise_correlation": float(rho.max()),
                "snr_factor": group.snr_factor.tolist(),
            },
        )
    )
