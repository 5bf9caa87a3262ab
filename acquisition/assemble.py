"""Received blocks become MRD acquisitions: filtered, phase-true, cut to the readout, with trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ismrmrd
import numpy as np

from acquisition.demodulate import residual_phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from acquisition.demodulate import ReceiveFilter
    from acquisition.plan import RadialScanPlan
    from acquisition.sort import Line, Readout
    from drivers.protocols import ReceiveBlock, ReceiveSetting

#: Channels per word of an MRD channel mask.
_MASK_BITS = 64


class Assembler:
    """Makes acquisitions of received blocks.

    Parameters
    ----------
    plan, setting, receive_filter, readout
        The scan as it was really set.
    noise
        The blocks are noise: every clean sample is kept, no trajectory is attached.
    repetition
        Of the whole scan, from 0.
    """

    def __init__(
        self,
        plan: RadialScanPlan,
        setting: ReceiveSetting,
        receive_filter: ReceiveFilter,
        readout: Readout,
        *,
        noise: bool,
        repetition: int = 0,
    ) -> None:
        self._plan = plan
        self._repetition = repetition
        self._noise = noise
        self._filter = receive_filter
        self._settling = setting.settling_samples
        self._directions = plan.directions
        self._radius = plan.design.radius(readout.times - plan.dead_time) * (plan.fov / plan.matrix)
        centres = receive_filter.centres(setting.plan.samples, setting.settling_samples)
        times = setting.first_sample_time + centres * setting.plan.dwell_time
        # Spins and oscillator agree at the trigger, where the oscillator restarts, and drift apart within
        # the window: the oscillator is quantised, and the carrier is a multiple of 1/TR, up to half of that
        # away from where the spins precess after the pulse.
        self._phase = residual_phase(plan.larmor_frequency - setting.plan.frequency, times)
        self._kept = slice(None) if noise else slice(readout.first, readout.first + readout.times.size)

    def acquisitions(self, block: ReceiveBlock, lines: Sequence[Line], /) -> Iterator[ismrmrd.Acquisition]:
        """Return one acquisition for each line of a block.

        Parameters
        ----------
        block
            As received.
        lines
            What its rows are.
        """
        data = (self._filter.apply(block.data, self._settling) * self._phase)[..., self._kept]
        for line in lines:
            yield self._acquisition(line, np.ascontiguousarray(data[line.row]))

    def _acquisition(self, line: Line, data: NDArray[np.complex64]) -> ismrmrd.Acquisition:
        plan = self._plan
        channels, samples = data.shape
        trajectory = np.empty((samples, 0), dtype=np.float32)
        head: Any = ismrmrd.AcquisitionHeader()
        if self._noise:
            head.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        else:
            trajectory = np.outer(self._radius, self._directions[line.spoke]).astype(np.float32)
            head.idx.kspace_encode_step_1 = line.spoke
        head.version = 1
        head.number_of_samples = samples
        head.available_channels = head.active_channels = channels
        head.trajectory_dimensions = trajectory.shape[1]
        earlier = 0 if self._noise else plan.noise_windows + self._repetition * plan.spokes
        head.scan_counter = earlier + line.repetition
        head.idx.repetition = self._repetition
        # Milliseconds of planned time since the first noise window; MRD leaves the unit to the vendor.
        head.acquisition_time_stamp = round(head.scan_counter * plan.repetition_time * 1e3)
        head.sample_time_us = self._filter.output_interval * 1e6
        head.read_dir[:] = (1.0, 0.0, 0.0)
        head.phase_dir[:] = (0.0, 1.0, 0.0)
        head.slice_dir[:] = (0.0, 0.0, 1.0)
        head.user_int[0] = int(line.flags)
        head.user_int[1] = line.repetition
        for word in range(-(-channels // _MASK_BITS)):
            head.channel_mask[word] = (1 << min(_MASK_BITS, channels - word * _MASK_BITS)) - 1
        return ismrmrd.Acquisition(head, data, trajectory)
