"""Windows become lines: which trigger was which spoke, and which samples of a window are the readout.

True here: a window belongs to the repetition its trigger number says, whatever the order of arrival. A
window that did not come is reported, one that is damaged is flagged; nothing is moved, joined or filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.errors import DataLost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from acquisition.demodulate import ReceiveFilter
    from drivers.protocols import ReceiveBlock, ReceiveSetting


class LineFlag(IntFlag):
    """What is known against a line; stored in the first user integer of its acquisition."""

    #: Nothing.
    NONE = 0
    #: At least one sample reached the receiver's full scale.
    CLIPPED = 1
    #: Samples are missing inside the window, or it overlaps its neighbour.
    GAP = 2
    #: The window never came.
    DROPPED = 4
    #: The first usable sample comes after the gradient's start: the centre of k-space was missed.
    DEADTIME = 8
    #: Received without RF.
    NOISE = 16


@dataclass(frozen=True, slots=True)
class Line:
    """One window of a block, identified.

    Parameters
    ----------
    row
        Its row in the block.
    repetition
        Of the sequence, from 0.
    spoke
        Its place in k-space, from 0.
    flags
        What is known against it.
    """

    row: int
    repetition: int
    spoke: int
    flags: LineFlag


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Which of a window's filtered samples belong to the readout.

    Parameters
    ----------
    first
        Index of the first of them among the filter's outputs.
    times
        Shape (sample,), s from the trigger to the centre of each.
    flags
        ``DEADTIME`` when the start of the gradient was missed.
    """

    first: int
    times: NDArray[np.float64]
    flags: LineFlag


def find_readout(
    setting: ReceiveSetting, receive_filter: ReceiveFilter, gradient_start: float, duration: float, /
) -> Readout:
    """Return the samples from the start of the gradient to the end of the spoke.

    The first one is the last clean sample at k = 0, or, where the filters are not settled by then, the first
    clean one.

    Parameters
    ----------
    setting
        Of the receiver.
    receive_filter
        The chain whose outputs are counted.
    gradient_start, duration
        Of the spoke, in s from the trigger.

    Raises
    ------
    ValueError
        The window ends before the spoke, or begins after its first tenth.
    """
    plan = setting.plan
    centres = receive_filter.centres(plan.samples, setting.settling_samples)
    times = np.asarray(setting.first_sample_time + centres * plan.dwell_time, dtype=np.float64)
    end = gradient_start + duration
    interval = receive_filter.output_interval
    if times.size == 0 or times[-1] < end - interval or times[0] > gradient_start + 0.1 * duration:
        span = f"from {times[0]:.6g} s to {times[-1]:.6g} s" if times.size else "nowhere"
        raise ValueError(
            f"the receive window is usable {span} after the trigger; the spoke lasts from "
            f"{gradient_start:.6g} s to {end:.6g} s"
        )
    # A nanosecond forgives the rounding of times that ought to be equal.
    first = max(0, int(np.searchsorted(times, gradient_start + 1e-9, side="right")) - 1)
    last = int(np.searchsorted(times, end + 1e-9, side="right"))
    missed = times[first] - gradient_start > 0.5 * interval
    return Readout(first, times[first:last], LineFlag.DEADTIME if missed else LineFlag.NONE)


class LineSorter:
    """Assigns windows to spokes and remembers which spokes are still missing.

    Parameters
    ----------
    order
        Shape (repetition,), the spoke that each repetition plays; a permutation.
    flags
        Set on every line, such as ``LineFlag.NOISE``.
    full_scale
        V; samples whose real or imaginary part reaches it are clipped. None: the receiver cannot clip.
    """

    def __init__(
        self, order: NDArray[np.int64], *, flags: LineFlag = LineFlag.NONE, full_scale: float | None = None
    ) -> None:
        if not np.array_equal(np.sort(order), np.arange(order.size)):
            raise ValueError("the order of spokes must name every spoke exactly once")
        self._order = order
        self._flags = flags
        self._full_scale = full_scale
        self._arrived = np.zeros(order.size, dtype=np.bool_)

    @property
    def missing(self) -> tuple[int, ...]:
        """Repetitions whose window has not arrived, in rising order."""
        return tuple(int(number) for number in np.flatnonzero(~self._arrived))

    def sort(self, block: ReceiveBlock, first_repetition: int = 0, /) -> list[Line]:
        """Return the lines of a block, one for each row.

        Parameters
        ----------
        block
            As the receiver delivered it.
        first_repetition
            The repetition whose trigger opened the receiver's window 0.

        Raises
        ------
        DataLost
            A window belongs to no repetition of the plan, or its repetition was already received: the
            triggers were miscounted and no line of the block can be trusted.
        """
        rows = block.data.shape[0]
        repetitions = first_repetition + block.first_window + np.arange(rows)
        if rows and (repetitions[0] < 0 or repetitions[-1] >= self._order.size):
            raise DataLost(
                f"windows {block.first_window} to {block.first_window + rows - 1} are repetitions "
                f"{repetitions[0]} to {repetitions[-1]}, but the plan has {self._order.size}; check the "
                "trigger line for extra pulses"
            )
        if np.any(self._arrived[repetitions]):
            twice = int(repetitions[self._arrived[repetitions]][0])
            raise DataLost(f"repetition {twice} was received twice; check the trigger line for extra pulses")
        self._arrived[repetitions] = True
        flags = self._judge(block)
        return [
            Line(row, int(number), int(self._order[number]), LineFlag(int(flag)) | self._flags)
            for row, (number, flag) in enumerate(zip(repetitions, flags, strict=True))
        ]

    def _judge(self, block: ReceiveBlock) -> NDArray[np.int64]:
        """Return the flags of each row as integers."""
        parts = np.ascontiguousarray(block.data, dtype=np.complex64).view(np.float32)
        largest = np.abs(parts).max(axis=(1, 2), initial=0.0)
        flags = np.where(np.isfinite(largest), 0, int(LineFlag.GAP))
        if self._full_scale is not None:
            flags |= np.where(largest >= self._full_scale, int(LineFlag.CLIPPED), 0)
        overlaps = np.diff(block.first_sample) < block.data.shape[-1]
        flags[:-1] |= np.where(overlaps, int(LineFlag.GAP), 0)
        flags[1:] |= np.where(overlaps, int(LineFlag.GAP), 0)
        return np.asarray(flags, dtype=np.int64)
