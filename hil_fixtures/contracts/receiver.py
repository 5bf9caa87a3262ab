"""What every receiver driver must keep, on the simulator and on hardware alike.

Subclass ``ReceiverContract`` in a test module and give it two fixtures: ``receiver`` yields an open
receiver with nothing but noise at its inputs, ``give_triggers`` a function that, called with n, gives n
triggers to an armed receiver. Class attributes say what the receiver is asked for; the defaults suit 23Na
at 3 T.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from coilbench.base.errors import LimitExceeded
from drivers.protocols import ReceivePlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.protocols import ReceiveBlock, Receiver


class ReceiverContract:
    """Tests that any open ``Receiver`` passes."""

    #: What the receiver is asked for: odd numbers, so that roundings show.
    plan: ClassVar[ReceivePlan] = ReceivePlan(frequency=33.787_654_321e6, dwell_time=10e-6, samples=37)
    #: Largest deviations of what is really set: Hz, and a fraction of the dwell time.
    frequency_step: ClassVar[float] = 1.0
    dwell_step: ClassVar[float] = 0.05

    @pytest.fixture
    def run(self, receiver: Receiver, give_triggers: Callable[[int], None]) -> Callable[[int], ReceiveBlock]:
        """Return a function that arms, triggers and collects some windows."""

        def run(windows: int) -> ReceiveBlock:
            receiver.arm(windows)
            give_triggers(windows)
            return receiver.collect()

        return run

    def test_it_says_who_it_is(self, receiver: Receiver) -> None:
        """Name, identity and channels are there for errors and records."""
        assert receiver.name
        assert receiver.identity
        assert receiver.channel_count >= 1

    def test_what_was_really_set_is_near_what_was_asked_for(self, receiver: Receiver) -> None:
        """Frequency and dwell time are rounded, never replaced; the number of samples is exact."""
        actual = receiver.configure(self.plan).plan
        assert abs(actual.frequency - self.plan.frequency) <= self.frequency_step
        assert actual.dwell_time == pytest.approx(self.plan.dwell_time, rel=self.dwell_step)
        assert actual.samples == self.plan.samples
        assert actual.delay >= 0.0

    def test_what_was_really_set_can_be_set_again(self, receiver: Receiver) -> None:
        """Rounding twice changes nothing."""
        setting = receiver.configure(self.plan)
        assert receiver.configure(setting.plan) == setting

    def test_a_longer_delay_moves_the_samples_by_as_much(self, receiver: Receiver) -> None:
        """The time of the first sample follows the delay as it was really set."""
        early = receiver.configure(self.plan)
        late = receiver.configure(dataclasses.replace(self.plan, delay=early.plan.delay + 1e-4))
        shift = late.plan.delay - early.plan.delay
        assert shift == pytest.approx(1e-4, abs=self.plan.dwell_time)
        assert late.first_sample_time - early.first_sample_time == pytest.approx(shift, abs=1e-12)

    def test_the_filter_is_described(self, receiver: Receiver) -> None:
        """Stages, decimation and settling are what processing needs to undo the filter."""
        setting = receiver.configure(self.plan)
        assert setting.filter_stages >= 0
        assert setting.filter_decimation >= 1
        assert 0 <= setting.settling_samples < self.plan.samples

    def test_a_block_holds_every_window_of_every_channel(
        self, receiver: Receiver, run: Callable[[int], ReceiveBlock]
    ) -> None:
        """Shape, type and numbers of a run."""
        receiver.configure(self.plan)
        block = run(3)
        assert block.data.shape == (3, receiver.channel_count, self.plan.samples)
        assert block.data.dtype == np.complex64
        assert block.first_window == 0
        assert block.first_sample.dtype == np.int64
        assert block.first_sample.tolist() == [0, self.plan.samples, 2 * self.plan.samples]

    def test_windows_and_samples_are_counted_from_configure(
        self, receiver: Receiver, run: Callable[[int], ReceiveBlock]
    ) -> None:
        """Runs go on counting; configuring begins anew."""
        receiver.configure(self.plan)
        assert run(2).first_window == 0
        second = run(1)
        assert second.first_window == 2
        assert second.first_sample.tolist() == [2 * self.plan.samples]
        receiver.configure(self.plan)
        assert run(1).first_window == 0

    def test_every_channel_receives_its_own_noise(
        self, receiver: Receiver, run: Callable[[int], ReceiveBlock]
    ) -> None:
        """No channel is dead or the copy of another, and real and imaginary part are alike."""
        setting = receiver.configure(self.plan)
        settled = run(4).data[..., setting.settling_samples :]
        assert np.all(np.isfinite(settled))
        # variances of some 100 correlated samples: a factor 4 is beyond all chance
        ratio = settled.real.var(axis=(0, 2)) / settled.imag.var(axis=(0, 2))
        assert np.all((ratio > 0.25) & (ratio < 4.0))
        flat = np.moveaxis(settled, 1, 0).reshape(receiver.channel_count, -1)
        assert len({channel.tobytes() for channel in flat}) == receiver.channel_count

    def test_the_largest_run_is_allowed_and_a_larger_one_refused(
        self, receiver: Receiver, run: Callable[[int], ReceiveBlock]
    ) -> None:
        """What ``windows_per_run`` promises is kept, and no more is tried."""
        receiver.configure(dataclasses.replace(self.plan, samples=1000))
        most = receiver.windows_per_run
        assert most >= 1
        with pytest.raises(LimitExceeded, match=str(most)):
            receiver.arm(most + 1)
        assert run(most).data.shape[0] == most

    def test_impossible_dwell_times_are_refused(self, receiver: Receiver) -> None:
        """The message says what is allowed, and the receiver stays usable."""
        for dwell_time in (1e-12, 1e3):
            with pytest.raises(LimitExceeded, match="allowed"):
                receiver.configure(dataclasses.replace(self.plan, dwell_time=dwell_time))
        assert receiver.configure(self.plan).plan.samples == self.plan.samples

    def test_order_of_calls_is_checked(self, receiver: Receiver) -> None:
        """Collecting what was never armed, or arming for nothing, is a programmer's mistake."""
        receiver.configure(self.plan)
        with pytest.raises(ValueError, match="armed"):
            receiver.collect()
        with pytest.raises(ValueError, match="at least one"):
            receiver.arm(0)

    def test_safe_and_close_may_be_called_again(self, receiver: Receiver) -> None:
        """Making safe keeps the receiver usable; closing twice is no error."""
        receiver.make_safe()
        receiver.configure(self.plan)
        receiver.close()
        receiver.close()
        receiver.make_safe()
