"""Measure each channel's Q with and without the phantom, and what share of its SNR the coil itself takes.

Two ways, all other channels detuned in both. With probes: the transmission between two probes over the loop,
its ports open, so that nothing but the loop's own losses and the sample's count. By reflection: the port's
own Q-circle, whose coupling says what part of the losses is the port's; what the same loop's port for another
nucleus takes counts as the coil's. Each resonance is looked for in a wide sweep and fitted in a narrow one.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from coilbench.base import operator
from coilbench.base.errors import MeasurementError, RunAborted
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.probing import bias_off_afterwards, only, undone_by_hand
from coils.decoupling.measures import COVERAGE
from coils.quality import Loading, Reading, coil_loading
from coils.resonance import Resonance, check_isolation, fit_resonance, measure_with_probes
from drivers.protocols import Abort, Segment, SweepPlan, never

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from coilbench.base.operator import Ask
    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer, Tuner

#: Frequencies in Hz and values of an S-parameter, each of shape (point,).
_Trace: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.complex128]]"
#: Whether the phantom is in.
Load: TypeAlias = Literal["loaded", "unloaded"]
_LOADS: Final[tuple[Load, ...]] = ("loaded", "unloaded")
#: Width of the narrow sweep in bandwidths of the resonance: enough for Q and for what lies beside it.
_BANDWIDTHS: Final = 8.0


@dataclass(frozen=True, slots=True)
class QPlan:
    """What to measure.

    Parameters
    ----------
    nuclei
        The array's ports.
    probes
        The analyzer's ports of two probes; None: by the ports' own reflection.
    channels
        To measure, counted from 1; None: all.
    bias_current
        That detunes the other channels, A.
    span
        Half width of the first sweep over its centre: ports are opened, the phantom is taken out.
    points
        Of every sweep.
    if_bandwidth, power_dbm
        Hz and dBm.
    s_uncertainty
        Standard uncertainty of each |S| of the analyzer's calibration, linear: by reflection, Q's uncertainty
        holds what directivity and source match of that size do to it.
    """

    nuclei: tuple[NucleusPorts, ...]
    probes: tuple[int, int] | None = None
    channels: tuple[int, ...] | None = None
    bias_current: float = 0.08
    span: float = 0.06
    points: int = 401
    if_bandwidth: float = 300.0
    power_dbm: float = 0.0
    s_uncertainty: float = 0.0025

    @property
    def every_channel(self) -> tuple[int, ...]:
        """All channels of the array, counted from 1."""
        return tuple(range(1, len(self.nuclei[0].ports) + 1))

    @property
    def chosen(self) -> tuple[int, ...]:
        """The channels to measure."""
        return self.every_channel if self.channels is None else self.channels


@dataclass(frozen=True, slots=True)
class ChannelQ:
    """One channel at one nucleus.

    Parameters
    ----------
    channel, nucleus
        From 1.
    loaded, unloaded
        Resonance with the phantom in and out; their ``q_unloaded`` is free of the port's, or the probes',
        load. None where it could not be stated.
    loading
        What both say about the coil's own losses; None where they say nothing.
    refusal
        Why something is None; empty otherwise.
    """

    channel: int
    nucleus: str
    loaded: Resonance | None
    unloaded: Resonance | None
    loading: Loading | None
    refusal: str


@dataclass(frozen=True, slots=True)
class QResult:
    """What was measured.

    Parameters
    ----------
    method
        ``"probes"`` or ``"reflection"``.
    channels
        Every chosen channel at every nucleus.
    """

    method: Literal["probes", "reflection"]
    channels: tuple[ChannelQ, ...]

    def loadings(self, nucleus: str) -> dict[int, Loading | None]:
        """Return what is known of every measured channel at a nucleus."""
        return {row.channel: row.loading for row in self.channels if row.nucleus == nucleus}

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values, SI units and dB."""
        return {
            "method": self.method,
            "channels": [
                {
                    "channel": row.channel,
                    "nucleus": row.nucleus,
                    "loaded": _resonance_data(row.loaded),
                    "unloaded": _resonance_data(row.unloaded),
                    "ratio": row.loading and _reading_data(row.loading.ratio),
                    "snr_share": row.loading and _reading_data(row.loading.snr_share),
                    "noise_figure_db": row.loading and _reading_data(row.loading.noise_figure_db),
                    "refusal": row.refusal,
                }
                for row in self.channels
            ],
        }


def measure_q(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: QPlan,
    *,
    ask: Ask,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> QResult:
    """Measure every chosen channel's Q with the phantom, then without it; the phantom is put back.

    Parameters
    ----------
    ask
        Told what to do with phantom, probes and cables; returns when it is done.

    Raises
    ------
    MeasurementError
        The probes see each other.
    RunAborted
        ``abort`` said so; bias and RF are off.
    InstrumentError
        An instrument failed.
    """
    found: dict[tuple[int, str, Load], Resonance | str] = {}
    with bias_off_afterwards(tuner, plan.every_channel):
        air = _air(analyzer, plan, ask, abort)
        ask(operator.put_phantom_in())
        _measure(analyzer, tuner, plan, "loaded", air, found, ask, emit, abort)
        ask(operator.take_phantom_out())
        with undone_by_hand(tuner, plan.every_channel, ask, operator.put_phantom_in()):
            _measure(analyzer, tuner, plan, "unloaded", air, found, ask, emit, abort)
    rows = []
    for channel in plan.chosen:
        for group in plan.nuclei:
            loaded, unloaded = (found[channel, group.nucleus, load] for load in _LOADS)
            rows.append(_conclude(channel, group.nucleus, loaded, unloaded))
            emit(_told(rows[-1]))
    return QResult("reflection" if plan.probes is None else "probes", tuple(rows))


def _measure(
    analyzer: NetworkAnalyzer,
    tuner: Tuner,
    plan: QPlan,
    load: Load,
    air: dict[str, _Trace],
    found: dict[tuple[int, str, Load], Resonance | str],
    ask: Ask,
    emit: EventSink,
    abort: Abort,
) -> None:
    """Find every chosen channel's resonances, or why there are none."""
    for channel in plan.chosen:
        only(tuner, channel, plan.every_channel, plan.bias_current)
        own = tuple(group.ports[channel - 1] for group in plan.nuclei)
        with ExitStack() as stack:
            if plan.probes is not None:
                ask(operator.hold_probes_over(channel))
                ask(operator.leave_open(own))
                back = operator.connect_to_analyzer(own)
                stack.enter_context(undone_by_hand(tuner, plan.every_channel, ask, back))
            for group, port in zip(plan.nuclei, own, strict=True):
                try:
                    fit: Resonance | str = _find(
                        analyzer, plan, group.frequency, port, air.get(group.nucleus), abort
                    )
                except MeasurementError as error:
                    fit = str(error)
                found[channel, group.nucleus, load] = fit
                emit(_told_resonance(channel, group.nucleus, load, fit))


def _air(analyzer: NetworkAnalyzer, plan: QPlan, ask: Ask, abort: Abort) -> dict[str, _Trace]:
    """Return what the probes see of each other in free air around each nucleus; nothing without probes.

    Raises
    ------
    MeasurementError
        They are not decoupled.
    """
    if plan.probes is None:
        return {}
    ask(operator.take_probes_away())
    traces = {}
    for group in plan.nuclei:
        trace = _sweep(analyzer, plan, group.frequency, plan.span * group.frequency, 0, abort)
        check_isolation(*trace)
        traces[group.nucleus] = trace
    return traces


def _find(
    analyzer: NetworkAnalyzer, plan: QPlan, frequency: float, port: int, air: _Trace | None, abort: Abort
) -> Resonance:
    """Look for a resonance near a frequency and fit it in sweeps as wide as it needs.

    Raises
    ------
    MeasurementError
        There is none, or not one alone.
    """
    axis, trace = _sweep(analyzer, plan, frequency, plan.span * frequency, port, abort)
    power = 1.0 - np.abs(trace) ** 2 if air is None else np.abs(trace) ** 2
    centre, width = find_peak(axis, power)
    rough = _fit(analyzer, plan, centre, width, port, air, abort)
    return _fit(analyzer, plan, rough.frequency, rough.bandwidth, port, air, abort)


def _fit(
    analyzer: NetworkAnalyzer,
    plan: QPlan,
    centre: float,
    width: float,
    port: int,
    air: _Trace | None,
    abort: Abort,
) -> Resonance:
    axis, trace = _sweep(analyzer, plan, centre, 0.5 * _BANDWIDTHS * width, port, abort)
    if air is None:
        return fit_resonance(axis, trace, analyzer=plan.s_uncertainty)
    # What the probes see in air is smooth: a wide sweep serves all narrow ones.
    own = np.interp(axis, air[0], air[1].real) + 1j * np.interp(axis, air[0], air[1].imag)
    return measure_with_probes(axis, trace, np.asarray(own, dtype=np.complex128)).resonance


def find_peak(axis: NDArray[np.float64], power: NDArray[np.float64]) -> tuple[float, float]:
    """Return where a trace is highest and how wide it is at half of its height, both in Hz.

    Parameters
    ----------
    axis
        Hz, shape (point,), rising.
    power
        Shape (point,): transmitted, or absorbed.

    Raises
    ------
    MeasurementError
        The highest point is at an end of the sweep: the resonance is elsewhere.
    """
    top = int(np.argmax(power))
    if top in (0, len(axis) - 1):
        raise MeasurementError(
            f"no resonance between {axis[0] / 1e6:.3f} and {axis[-1] / 1e6:.3f} MHz: the trace only rises "
            "towards an end; sweep wider, or tune the channel first"
        )
    high = power > 0.5 * power[top]
    left = top - int(np.argmin(high[top::-1])) if not high[: top + 1].all() else 0
    right = top + int(np.argmin(high[top:])) if not high[top:].all() else len(axis) - 1
    return float(axis[top]), float(axis[right] - axis[left])


def _sweep(
    analyzer: NetworkAnalyzer, plan: QPlan, centre: float, half: float, port: int, abort: Abort
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return the probes' transmission, or the port's reflection, about a frequency."""
    if abort():
        raise RunAborted("stopped before a sweep")
    segment = Segment(centre - half, centre + half, plan.points | 1)
    analyzer.configure(SweepPlan((segment,), plan.if_bandwidth, plan.power_dbm))
    if plan.probes is None:
        network = analyzer.sweep((port,), abort=abort)
        trace = network.s[:, 0, 0]
    else:
        network = analyzer.sweep(plan.probes, abort=abort)
        trace = network.s[:, 1, 0]
    return np.asarray(network.f, dtype=np.float64), np.ascontiguousarray(trace)


def _conclude(channel: int, nucleus: str, loaded: Resonance | str, unloaded: Resonance | str) -> ChannelQ:
    with_phantom = loaded if isinstance(loaded, Resonance) else None
    without = unloaded if isinstance(unloaded, Resonance) else None
    fits = zip(_LOADS, (loaded, unloaded), strict=True)
    reasons = [f"{load}: {fit}" for load, fit in fits if isinstance(fit, str)]
    loading = None
    if with_phantom is not None and without is not None:
        try:
            loading = coil_loading(_q(without), _q(with_phantom))
        except MeasurementError as error:
            reasons.append(str(error))
    return ChannelQ(channel, nucleus, with_phantom, without, loading, "; ".join(reasons))


def _q(fit: Resonance) -> Reading:
    """Return the Q without the port's or the probes' load, with its expanded uncertainty."""
    return Reading(fit.q_unloaded, COVERAGE * fit.uncertainty.q_unloaded)


def _resonance_data(fit: Resonance | None) -> dict[str, float] | None:
    if fit is None:
        return None
    return {
        "frequency": fit.frequency,
        "q": fit.q_unloaded,
        "q_uncertainty": COVERAGE * fit.uncertainty.q_unloaded,
        "q_at_port": fit.q_loaded,
        "coupling": fit.coupling,
    }


def _reading_data(reading: Reading) -> dict[str, float | None]:
    return {"value": reading.value, "uncertainty": reading.uncertainty}


def _told_resonance(channel: int, nucleus: str, load: Load, fit: Resonance | str) -> Event:
    what = {"channel": channel, "nucleus": nucleus, "load": load}
    if isinstance(fit, str):
        return Event("q.refused", f"channel {channel}, {nucleus}, {load}: {fit}", what)
    return Event(
        "q.measured",
        f"channel {channel}, {nucleus}, {load}: Q {fit.q_unloaded:.1f} at {fit.frequency / 1e6:.4f} MHz",
        {**what, "q": fit.q_unloaded, "frequency": fit.frequency},
    )


def _told(row: ChannelQ) -> Event:
    what: dict[str, Any] = {"channel": row.channel, "nucleus": row.nucleus}
    if row.loading is None:
        return Event("q.refused", f"channel {row.channel}, {row.nucleus}: {row.refusal}", what)
    ratio, share = row.loading.ratio, row.loading.snr_share
    return Event(
        "q.ratio",
        f"channel {row.channel}, {row.nucleus}: Q_U/Q_L {ratio.value:.3f}, {share.value:.0%} of the SNR of a "
        "coil without losses of its own",
        {**what, "ratio": ratio.value, "snr_share": share.value},
    )
