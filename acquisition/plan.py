"""What a radial scan shall be, before any instrument is touched.

A plan that exists can be played: the trajectory meets its limits, the receive band holds the object's
signal, the repetition holds the readout, and the transmit frequency is a whole multiple of 1/TR, so that
a receiver whose oscillator restarts at each trigger is in phase from repetition to repetition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from acquisition.demodulate import DECIMATING_HALF_WIDTH, HALF_WIDTH, PASS_BAND
from acquisition.sequence import GradientLimits, RadialTiming
from acquisition.trajectory import GRADIENT_RASTER, RadialDesign, design_radial, golden_directions
from coilbench.base.nuclei import Nucleus
from coilbench.base.nuclei import nucleus as named_nucleus

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: s. Longest sample interval of a MaRCoS receiver: decimation 4095 at 122.88 MHz; longer ones are made
#: from shorter ones by the host.
LONGEST_RECEIVER_INTERVAL: Final = 4095 / 122.88e6
#: Spokes and samples are counted with 16 bits in an MRD header.
_MOST: Final = 65535
#: Receiver samples added to a window: the CIC's group delay and what rounding of its timing may cost.
_SPARE_SAMPLES: Final = 8
#: Receiver samples until a six-stage CIC is full, less its group delay of three.
_SETTLING_SAMPLES: Final = 4
#: s. Shortest time from pulse to gradient: transmit/receive switching, as in sodium UTE protocols.
SHORTEST_DEAD_TIME: Final = 0.1e-3


@dataclass(frozen=True, slots=True)
class RadialScanPlan:
    """A density-adapted 3D radial UTE scan.

    Parameters
    ----------
    nucleus
        What is excited and received.
    b0
        T.
    fov, matrix
        m and voxels across; kmax = matrix/(2·fov).
    spokes
        Golden-means directions, one per repetition.
    readout_duration
        s from the start of the gradient to kmax; a whole number of gradient rasters.
    dwell_time
        s per complex sample after all filters.
    repetition_time
        s; a multiple of 10 us.
    flip_angle
        rad.
    pulse_duration
        s of the hard pulse; the trigger comes at its end.
    dead_time
        s from the trigger to the start of the gradient; the filters settle meanwhile.
    noise_windows
        Windows received without RF before the scan.
    max_gradient, max_slew
        T/m and T/m/s; limits of the design, at most those of the gradient system.
    """

    nucleus: Nucleus
    b0: float
    fov: float
    matrix: int
    spokes: int
    readout_duration: float
    dwell_time: float
    repetition_time: float
    flip_angle: float
    pulse_duration: float
    dead_time: float
    noise_windows: int
    max_gradient: float
    max_slew: float

    def __post_init__(self) -> None:
        """Check that the plan can be played.

        Raises
        ------
        ValueError
            It cannot; the text says what would.
        """
        if self.matrix < 2 or not 1 <= self.spokes <= _MOST or not 0 <= self.noise_windows <= self.spokes:
            raise ValueError(
                f"a scan needs a matrix of at least 2, 1 to {_MOST} spokes and no more noise windows than "
                f"spokes; got {self.matrix}, {self.spokes} and {self.noise_windows}"
            )
        highest = self.design.waveform().max() * self.nucleus.gamma_bar * self.fov / 2.0
        if highest * self.dwell_time > PASS_BAND:
            raise ValueError(
                f"signals from the edge of the field of view reach {highest / 1e3:.4g} kHz; at a dwell time "
                f"of {self.dwell_time * 1e6:.4g} us only {PASS_BAND / self.dwell_time / 1e3:.4g} kHz are "
                f"flat. Use at most {PASS_BAND / highest * 1e6:.4g} us, or a lower max_gradient"
            )
        used = self.pulse_duration + self.dead_time + self.readout_duration
        if self.repetition_time <= used or self.window_samples > _MOST:
            raise ValueError(
                f"a repetition of {self.repetition_time:.6g} s does not hold {used:.6g} s of pulse, dead "
                f"time and readout in at most {_MOST} samples"
            )

    @property
    def kmax(self) -> float:
        """End of each spoke in cycles/m."""
        return self.matrix / (2.0 * self.fov)

    @property
    def design(self) -> RadialDesign:
        """The spoke.

        Raises
        ------
        ValueError
            The limits do not allow one.
        """
        return design_radial(
            gamma_bar=self.nucleus.gamma_bar,
            kmax=self.kmax,
            readout_duration=self.readout_duration,
            max_gradient=self.max_gradient,
            max_slew=self.max_slew,
        )

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors of the spokes, shape (spoke, 3)."""
        return golden_directions(self.spokes)

    @property
    def order(self) -> NDArray[np.int64]:
        """The spoke that each repetition plays, shape (repetition,)."""
        return np.arange(self.spokes, dtype=np.int64)

    @property
    def larmor_frequency(self) -> float:
        """Frequency at which the spins precess in ``b0``, in Hz; the data's zero frequency."""
        return self.nucleus.larmor_frequency(self.b0)

    @property
    def transmit_frequency(self) -> float:
        """Whole multiple of 1/TR nearest to the Larmor frequency, in Hz."""
        turns = round(self.larmor_frequency * self.repetition_time)
        return turns / self.repetition_time

    @property
    def decimation(self) -> int:
        """Receiver samples per sample of the scan: 1 unless the receiver cannot be that slow."""
        return math.ceil(self.dwell_time / LONGEST_RECEIVER_INTERVAL)

    @property
    def receiver_interval(self) -> float:
        """Sample interval asked of the receiver, in s."""
        return self.dwell_time / self.decimation

    @property
    def window_samples(self) -> int:
        """Receiver samples in each window, so that the filters' ends lie outside the readout."""
        margin = _filter_half_width(self.decimation)
        readout = math.ceil((self.dead_time + self.readout_duration) / self.receiver_interval)
        return readout + margin + _SPARE_SAMPLES

    @property
    def timing(self) -> RadialTiming:
        """When things happen in one repetition."""
        return RadialTiming(
            self.pulse_duration,
            self.dead_time,
            self.repetition_time,
            self.window_samples,
            self.receiver_interval,
        )

    @property
    def limits(self) -> GradientLimits:
        """The gradient limits of the design."""
        return GradientLimits(self.max_gradient, self.max_slew)

    @property
    def duration(self) -> float:
        """Seconds that the scan takes, noise windows included."""
        return (self.spokes + self.noise_windows) * self.repetition_time


def settled_dead_time(dwell_time: float, /) -> float:
    """Return the shortest dead time in s after which samples of this dwell time are clean.

    Parameters
    ----------
    dwell_time
        s per complex sample after all filters.
    """
    decimation = math.ceil(dwell_time / LONGEST_RECEIVER_INTERVAL)
    samples = _SETTLING_SAMPLES + _filter_half_width(decimation)
    # the receiver's own interval is a whole number of clocks and may be longer by half of one
    needed = samples * (dwell_time / decimation + 0.5 / 122.88e6)
    steps = math.ceil(needed / GRADIENT_RASTER - 0.05)
    return max(SHORTEST_DEAD_TIME, steps * GRADIENT_RASTER)


def _filter_half_width(decimation: int) -> int:
    return HALF_WIDTH if decimation == 1 else DECIMATING_HALF_WIDTH * decimation


def plan_scan(
    *,
    nucleus: str | Nucleus = "23Na",
    b0: float = 3.0,
    fov: float = 0.32,
    matrix: int = 64,
    spokes: int = 3200,
    readout_duration: float = 5e-3,
    dwell_time: float = 10e-6,
    repetition_time: float = 0.1,
    flip_angle: float = math.pi / 2.0,
    pulse_duration: float = 0.2e-3,
    dead_time: float | None = None,
    noise_windows: int = 128,
    max_gradient: float = 0.01,
    max_slew: float = 100.0,
) -> RadialScanPlan:
    """Return a scan plan; times are rounded to the gradient raster of 10 us.

    Parameters
    ----------
    nucleus
        Name or nucleus; all others as in ``RadialScanPlan``.
    dead_time
        By default as long as the filters need to settle before the gradient starts, so that the centre of
        k-space is clean; at least ``SHORTEST_DEAD_TIME``.

    Raises
    ------
    ValueError
        The plan cannot be played, or no such nucleus is known.
    """

    def rastered(seconds: float) -> float:
        return round(seconds / GRADIENT_RASTER) * GRADIENT_RASTER

    if dead_time is None:
        dead_time = settled_dead_time(dwell_time)
    return RadialScanPlan(
        nucleus=named_nucleus(nucleus) if isinstance(nucleus, str) else nucleus,
        b0=b0,
        fov=fov,
        matrix=matrix,
        spokes=spokes,
        readout_duration=rastered(readout_duration),
        dwell_time=dwell_time,
        repetition_time=rastered(repetition_time),
        flip_angle=flip_angle,
        pulse_duration=rastered(pulse_duration),
        dead_time=rastered(dead_time),
        noise_windows=noise_windows,
        max_gradient=max_gradient,
        max_slew=max_slew,
    )
