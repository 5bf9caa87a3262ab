"""What all procedures with probes share: peaks, and bias that is off whatever happens."""

from __future__ import annotations

import numpy as np
import pytest

from coilbench.base.errors import InstrumentFault, MeasurementError
from coilbench.procedures.probing import bias_off_afterwards
from coilbench.procedures.qfactor import find_peak
from hil_fixtures.in_memory import MemoryTuner
from hil_fixtures.physics.world import World

BIAS = 0.08


def test_one_channel_that_refuses_keeps_no_other_channel_biased() -> None:
    """Channel 2 cannot be switched off: all others are, and the refusal is on the error."""

    class Stubborn(MemoryTuner):
        def set_bias(self, channel: int, current: float, /) -> float:
            if channel == 2 and current == 0.0 and any(bias()):
                raise InstrumentFault(self.name, "channel 2 refuses")
            return super().set_bias(channel, current)

    def bias() -> list[float]:
        return [world.bias(channel) for channel in range(1, 9)]

    def fail_while_biased() -> None:
        with bias_off_afterwards(tuner, range(1, 9)):
            for channel in range(1, 9):
                tuner.set_bias(channel, BIAS)
            raise ValueError("in between")

    world = World.tuned(5)
    tuner = Stubborn(world)
    with pytest.raises(ValueError, match="in between") as caught:
        fail_while_biased()
    assert bias() == [0.0, BIAS, *6 * [0.0]]
    assert any("channel 2 refuses" in note for note in caught.value.__notes__)


def test_a_peak_is_found_with_its_width_and_one_at_the_end_is_refused() -> None:
    axis = np.linspace(30e6, 36e6, 1201)
    power = 1 / (1 + (2 * (axis - 33.2e6) / 0.2e6) ** 2)
    centre, width = find_peak(axis, power)
    assert centre == pytest.approx(33.2e6, abs=5e3)
    assert width == pytest.approx(0.2e6, abs=11e3)
    with pytest.raises(MeasurementError, match="sweep wider"):
        find_peak(axis[:600], power[:600])
