"""Detune one channel and see whether its SNR falls by what the S-matrix says.

The analyzer measures the array as it is and detuned; the receivers measure the same channel's signal over
noise in both states. That closes the loop from network to image without any image.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from acquisition.radial_scan import prepare_scan
from coilbench.base.errors import InstrumentError, MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.procedures.scan import scan_plan
from coils.covariance import snr_factor
from drivers.protocols import Abort, Segment, SweepPlan, never

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ismrmrd
    from numpy.typing import NDArray

    from acquisition.radial_scan import RadialScan
    from coilbench.bench import Bench
    from coilbench.procedures.tune import NucleusPorts
    from drivers.protocols import NetworkAnalyzer, Tuner

#: Windows and spokes of each short scan.
WINDOWS: Final = 64
#: Samples at the start of each spoke, where all spokes see nearly the same k.
_CENTRAL: Final = 8
_PROBE_STEPS: Final = 60
_POINTS: Final = 401


@dataclass(frozen=True, slots=True)
class DetuningCheck:
    """One channel's SNR, detuned over tuned, as predicted and as received.

    Parameters
    ----------
    channel
        From 1.
    shift
        Relative shift of the port's dip, as the analyzer saw it.
    predicted
        Ratio from S and the preamplifiers' noise figure.
    measured, uncertainty
        Ratio from the receivers, and its standard uncertainty from the finite number of samples.
    """

    channel: int
    shift: float
    predicted: float
    measured: float
    uncertainty: float


def check_detuning(
    bench: Bench,
    group: NucleusPorts,
    channel: int,
    /,
    *,
    shift: float = 0.01,
    emit: EventSink = ignore,
    abort: Abort = never,
) -> DetuningCheck:
    """Detune ``channel`` by the relative ``shift``, compare, and move the trimmer back.

    Parameters
    ----------
    group
        Ports of the scan's nucleus.
    channel
        From 1.
    shift
        Upwards in frequency: less capacitance.
    """
    axis = f"ch{channel}.{group.axis_prefix}.tune"
    home = bench.tuner.positions()[axis]
    plan = replace(scan_plan(bench.file), spokes=WINDOWS, noise_windows=WINDOWS)
    scan = prepare_scan(bench.scanner, bench.receiver, plan)
    emit(Event("detuning.tuned", f"channel {channel} as tuned"))
    tuned_dip, tuned_s = _port(bench.analyzer, bench, group, channel)
    tuned_snr, tuned_u = _signal_to_noise(scan, channel, abort)
    try:
        steps = _steps_for(bench, group, channel, axis, home, tuned_dip, shift)
        bench.tuner.move({axis: home - steps}, abort=abort)
        emit(Event("detuning.moved", f"channel {channel} detuned by {steps} steps of {axis}"))
        dip, s = _port(bench.analyzer, bench, group, channel)
        snr, u = _signal_to_noise(scan, channel, abort)
    except BaseException as error:
        try:
            _move_back(bench.tuner, axis, home)
        except InstrumentError as second:
            error.add_note(f"and {axis} could not be moved back to {home}: {second}")
        raise
    _move_back(bench.tuner, axis, home)
    array = bench.file.array
    noise_figure, temperature = array.preamplifier_noise_figure_db, array.temperature
    predicted = snr_factor(s, noise_figure, temperature=temperature)[channel - 1]
    reference = snr_factor(tuned_s, noise_figure, temperature=temperature)[channel - 1]
    ratio = snr / tuned_snr
    return DetuningCheck(
        channel=channel,
        shift=dip / tuned_dip - 1.0,
        predicted=float(predicted / reference),
        measured=ratio,
        uncertainty=ratio * float(np.hypot(u / snr, tuned_u / tuned_snr)),
    )


def _move_back(tuner: Tuner, axis: str, home: int) -> None:
    """Approach ``home`` from below, as tuning left it: the gears have play."""
    tuner.move({axis: max(tuner.axes[axis].minimum, home - _PROBE_STEPS)})
    tuner.move({axis: home})


def _port(
    analyzer: NetworkAnalyzer, bench: Bench, group: NucleusPorts, channel: int
) -> tuple[float, NDArray[np.complex128]]:
    """Return the dip's frequency of a channel's port, and S of all ports of the nucleus at its frequency."""
    span = group.frequency * 0.04
    segment = Segment(group.frequency - span, group.frequency + span, _POINTS)
    sweep = bench.file.sweep
    analyzer.configure(SweepPlan((segment,), sweep.if_bandwidth, sweep.sweep_power_dbm))
    network = analyzer.sweep(group.ports)
    reflection = np.abs(network.s[:, channel - 1, channel - 1])
    lowest = int(np.clip(np.argmin(reflection), 1, len(reflection) - 2))
    left, middle, right = reflection[lowest - 1 : lowest + 2] ** 2
    offset = 0.5 * (left - right) / (left - 2.0 * middle + right)
    dip = network.f[lowest] + offset * (network.f[1] - network.f[0])
    at = int(np.argmin(np.abs(network.f - group.frequency)))
    return float(dip), np.asarray(network.s[at], dtype=np.complex128)


def _steps_for(
    bench: Bench, group: NucleusPorts, channel: int, axis: str, home: int, dip: float, shift: float
) -> int:
    """Return the steps that shift the dip by ``shift``: the play lost in turning, and the slope after it.

    Raises
    ------
    MeasurementError
        The trimmer does not move the dip.
    """
    dips = []
    for steps in (_PROBE_STEPS, 2 * _PROBE_STEPS):
        bench.tuner.move({axis: home - steps})
        dips.append(_port(bench.analyzer, bench, group, channel)[0])
    per_step = (dips[1] - dips[0]) / dip / _PROBE_STEPS
    if per_step <= 0.0:
        raise MeasurementError(
            f"{axis} does not move the dip of channel {channel} upwards; is the trimmer stuck?"
        )
    rest = shift - (dips[1] / dip - 1.0)
    return min(2 * _PROBE_STEPS + round(rest / per_step), home - bench.tuner.axes[axis].minimum)


def _signal_to_noise(scan: RadialScan, channel: int, abort: Abort) -> tuple[float, float]:
    """Return a channel's signal at the start of the spokes over its noise, and the standard uncertainty."""
    with closing(scan.acquire(noise=True, abort=abort)) as windows:
        noise = _samples(windows, channel)
    with closing(scan.acquire(abort=abort)) as spokes:
        signal = _samples(spokes, channel)[:, :_CENTRAL]
    sigma = float(np.sqrt(np.mean(np.abs(noise) ** 2) / 2.0))
    level = float(np.abs(signal.mean()))
    # Of N complex samples: the mean square is known to 1/sqrt(N), its root to half of that.
    relative = float(np.hypot(0.5 / np.sqrt(noise.size), sigma / level / np.sqrt(signal.size)))
    return level / sigma, level / sigma * relative


def _samples(acquisitions: Iterator[ismrmrd.Acquisition], channel: int) -> NDArray[np.complex64]:
    """Return a channel's samples, shape (acquisition, sample)."""
    return np.stack([np.array(acquisition.data[channel - 1]) for acquisition in acquisitions])
