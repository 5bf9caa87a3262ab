"""A radial UTE scan as Pulseq 1.5 text: hard pulse, trigger, dead time, one spoke, wait for the next TR.

The Pulseq format has no field for nucleus, gyromagnetic ratio or gradient limits, and a file with
gradients in Hz/m says nothing about T/m without them: they are written as definitions, in full precision.
The library's own limits default to 1H, so all of them are passed explicitly.

Source: Pulseq specification 1.5; pypulseq 1.5.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from acquisition.trajectory import RadialDesign
    from coilbench.base.nuclei import Nucleus

#: s. Pulseq 1.5 default rasters of RF pulses, ADC and blocks.
_RF_RASTER: Final = 1e-6
_ADC_RASTER: Final = 100e-9
_BLOCK_RASTER: Final = 10e-6
#: s. Length of the trigger pulse; its leading edge counts.
_TRIGGER_DURATION: Final = 10e-6


@dataclass(frozen=True, slots=True)
class RadialTiming:
    """When things happen in one repetition, in s.

    Parameters
    ----------
    pulse_duration
        Of the hard pulse; the trigger comes at its end.
    dead_time
        From the trigger to the start of the gradient.
    repetition_time
        From trigger to trigger.
    window_samples, dwell_time
        The receive window that opens at the trigger; the ADC event documents it.
    """

    pulse_duration: float
    dead_time: float
    repetition_time: float
    window_samples: int
    dwell_time: float


@dataclass(frozen=True, slots=True)
class GradientLimits:
    """What the gradient system may be asked for: T/m and T/m/s."""

    max_gradient: float
    max_slew: float


def radial_sequence(
    design: RadialDesign,
    directions: NDArray[np.float64],
    timing: RadialTiming,
    *,
    flip_angle: float,
    nucleus: Nucleus,
    transmit_frequency: float,
    b0: float,
    fov: float,
    limits: GradientLimits,
    name: str = "density-adapted radial UTE",
) -> str:
    """Return the scan as the text of a Pulseq file, one repetition per direction.

    Parameters
    ----------
    design
        The spoke; its gyromagnetic ratio must be the nucleus'.
    directions
        Shape (spoke, 3), unit vectors.
    timing
        Of one repetition.
    flip_angle
        rad.
    nucleus, transmit_frequency, b0, fov
        Written as definitions: name, Hz, T, m.
    limits
        Written as definitions; the waveform is checked against them.
    name
        Written as a definition.

    Raises
    ------
    ValueError
        The waveform exceeds the limits, the repetition does not hold it, or the design is made for
        another nucleus.
    """
    if not np.isclose(design.gamma_bar, nucleus.gamma_bar, rtol=1e-9):
        raise ValueError(
            f"the trajectory is made for {design.gamma_bar:.9g} Hz/T, {nucleus.name} has "
            f"{nucleus.gamma_bar:.9g} Hz/T"
        )
    import pypulseq  # here, because it loads pyplot, which takes more than a second

    system = pypulseq.Opts(
        gamma=nucleus.gamma_bar,
        B0=b0,
        max_grad=limits.max_gradient * 1e3,
        grad_unit="mT/m",
        max_slew=limits.max_slew,
        slew_unit="T/m/s",
        grad_raster_time=design.raster,
        rf_raster_time=_RF_RASTER,
        adc_raster_time=_ADC_RASTER,
        block_duration_raster=_BLOCK_RASTER,
    )
    # The library's annotations contradict what it returns.
    sequence: Any = pypulseq.Sequence(system)
    pulse = pypulseq.make_block_pulse(
        flip_angle, duration=timing.pulse_duration, system=system, use="excitation"
    )
    pulse.id, pulse.shape_IDs = sequence.register_rf_event(pulse)
    trigger = pypulseq.make_digital_output_pulse("ext1", duration=_TRIGGER_DURATION, system=system)
    window = pypulseq.make_adc(
        timing.window_samples, dwell=_on_raster(timing.dwell_time, _ADC_RASTER), system=system
    )
    window.id, _ = sequence.register_adc_event(window)
    rest = pypulseq.make_delay(_rest(design, timing))
    template: Any = pypulseq.make_arbitrary_grad(
        "x",
        design.waveform() * design.gamma_bar,
        first=0.0,
        last=0.0,
        delay=timing.dead_time,
        max_slew=cast("float", system.max_slew) * (1.0 + 1e-9),
        system=system,
    )
    _, template.shape_IDs = sequence.register_grad_event(template)
    for direction in directions:
        sequence.add_block(pulse)
        axes = [_scaled(template, axis, float(part)) for axis, part in zip("xyz", direction, strict=True)]
        sequence.add_block(trigger, *axes, window, rest)
    definitions = {
        "Name": name,
        "Nucleus": nucleus.name,
        "FOV": [fov, fov, fov],
        # As text: the library writes numbers with nine digits, not enough for a phase-true carrier.
        "Gamma_Hz_T": repr(nucleus.gamma_bar),
        "TransmitFrequency_Hz": repr(float(transmit_frequency)),
        "MaxGrad_T_m": repr(float(limits.max_gradient)),
        "MaxSlew_T_m_s": repr(float(limits.max_slew)),
    }
    for key, value in definitions.items():
        sequence.set_definition(key, value)
    return _written(sequence)


def _scaled(template: SimpleNamespace, axis: str, factor: float) -> SimpleNamespace:
    """Return a gradient event that shares the template's stored shape and differs in amplitude."""
    event = SimpleNamespace(**vars(template))
    event.channel = axis
    event.waveform = template.waveform * factor
    return event


def _rest(design: RadialDesign, timing: RadialTiming) -> float:
    """Return the duration in s of the block after the pulse; it must hold spoke and window."""
    rest = timing.repetition_time - timing.pulse_duration
    window = timing.window_samples * timing.dwell_time
    needed = max(timing.dead_time + design.waveform().size * design.raster, window)
    if rest < needed:
        raise ValueError(
            f"a repetition time of {timing.repetition_time:.6g} s does not hold the pulse and {needed:.6g} s "
            "of gradient and receive window"
        )
    for what, value in (("repetition time", timing.repetition_time), ("pulse", timing.pulse_duration)):
        if abs(value - _on_raster(value, _BLOCK_RASTER)) > 1e-9:
            raise ValueError(f"the {what} must be a multiple of {_BLOCK_RASTER} s; got {value:.9g} s")
    if abs(timing.dead_time - _on_raster(timing.dead_time, design.raster)) > 1e-9:
        raise ValueError(
            f"the dead time must be a multiple of {design.raster} s; got {timing.dead_time:.9g} s"
        )
    return rest


def _on_raster(value: float, raster: float) -> float:
    """Return ``value`` rounded to whole rasters."""
    return round(value / raster) * raster


def _written(sequence: Any) -> str:  # noqa: ANN401 - untyped library
    """Return the file's text; the library writes to named files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.seq"
        sequence.write(str(path), create_signature=True)
        return path.read_text(encoding="utf-8")
