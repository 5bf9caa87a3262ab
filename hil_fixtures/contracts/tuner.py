"""What every tuner driver must keep, on the simulator and on hardware alike.

Subclass ``TunerContract`` in a test module and give it a fixture ``tuner`` that yields an open tuner with
nothing in the way of its motors. The tests move every axis over its travel and switch small bias
currents.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from coilbench.base.errors import LimitExceeded, RunAborted

if TYPE_CHECKING:
    from drivers.protocols import Axis, Tuner


def _fraction(axis: Axis, part: float) -> int:
    return axis.minimum + round((axis.maximum - axis.minimum) * part)


class TunerContract:
    """Tests that any open ``Tuner`` passes."""

    def test_it_says_who_it_is(self, tuner: Tuner) -> None:
        """Name and identity are there for errors and records."""
        assert tuner.name
        assert tuner.identity

    def test_axes_have_travel(self, tuner: Tuner) -> None:
        """Every axis is listed under its own name and can move."""
        assert tuner.axes
        for name, axis in tuner.axes.items():
            assert axis.name == name
            assert axis.minimum < axis.maximum

    def test_positions_are_known_and_inside_the_travel(self, tuner: Tuner) -> None:
        """Every axis has an absolute position within its limits."""
        positions = tuner.positions()
        assert positions.keys() == tuner.axes.keys()
        for name, steps in positions.items():
            assert tuner.axes[name].minimum <= steps <= tuner.axes[name].maximum

    def test_a_move_ends_at_its_targets(self, tuner: Tuner) -> None:
        """When ``move`` returns, all axes are where they were sent, and all others where they were."""
        before = tuner.positions()
        first, second, *others = tuner.axes.values()
        targets = {first.name: _fraction(first, 0.3), second.name: _fraction(second, 0.6)}
        assert tuner.move(targets) == targets
        after = tuner.positions()
        assert {name: after[name] for name in targets} == targets
        assert all(after[axis.name] == before[axis.name] for axis in others)

    def test_all_axes_move_at_once(self, tuner: Tuner) -> None:
        """One call may name every axis; both ends of the travel can be reached."""
        for part in (1.0, 0.0, 0.5):
            targets = {name: _fraction(axis, part) for name, axis in tuner.axes.items()}
            assert tuner.move(targets) == targets

    def test_nothing_to_move_is_no_error(self, tuner: Tuner) -> None:
        """An empty move does nothing."""
        before = tuner.positions()
        assert tuner.move({}) == {}
        assert tuner.positions() == before

    def test_one_target_beyond_the_travel_moves_nothing(self, tuner: Tuner) -> None:
        """A move is refused as a whole, and the message names axis and limit."""
        before = tuner.positions()
        first, second, *_ = tuner.axes.values()
        for beyond in (second.maximum + 1, second.minimum - 1):
            with pytest.raises(LimitExceeded, match=re.escape(second.name)) as refused:
                tuner.move({first.name: _fraction(first, 0.4), second.name: beyond})
            assert str(second.maximum) in str(refused.value)
        assert tuner.positions() == before

    def test_an_unknown_axis_is_a_programmers_mistake(self, tuner: Tuner) -> None:
        """The message names what was asked for."""
        with pytest.raises(ValueError, match="no such axis"):
            tuner.move({"no such axis": 1})

    def test_home_brings_every_axis_to_its_lower_end(self, tuner: Tuner) -> None:
        """After homing the positions count from the minimum."""
        tuner.home()
        assert tuner.positions() == {name: axis.minimum for name, axis in tuner.axes.items()}

    def test_an_aborted_move_stops_and_the_tuner_stays_usable(self, tuner: Tuner) -> None:
        """``abort`` ends the wait (unless the move was over before); the next move works."""
        axis = next(iter(tuner.axes.values()))
        tuner.move({axis.name: axis.minimum})
        try:
            tuner.move({axis.name: axis.maximum}, abort=lambda: True)
        except RunAborted:
            assert axis.minimum <= tuner.positions()[axis.name] <= axis.maximum
        target = _fraction(axis, 0.5)
        assert tuner.move({axis.name: target}) == {axis.name: target}

    def test_stop_is_always_allowed(self, tuner: Tuner) -> None:
        """Stopping what stands still changes nothing."""
        before = tuner.positions()
        tuner.stop()
        assert tuner.positions() == before

    def test_bias_is_read_back(self, tuner: Tuner) -> None:
        """Every output takes 10 mA, as any PIN diode does, and goes back to zero."""
        for channel in range(1, tuner.bias_channels + 1):
            # 5 %: what a bias source without calibration is good for
            assert tuner.set_bias(channel, 0.01) == pytest.approx(0.01, rel=0.05)
        for channel in range(1, tuner.bias_channels + 1):
            assert tuner.set_bias(channel, 0.0) == pytest.approx(0.0, abs=1e-4)

    def test_too_much_bias_is_refused_and_changes_nothing(self, tuner: Tuner) -> None:
        """No driver passes on 100 A or a negative current; the channel is still usable."""
        for current in (100.0, -0.01):
            with pytest.raises(LimitExceeded, match="1"):
                tuner.set_bias(1, current)
        assert tuner.set_bias(1, 0.0) == pytest.approx(0.0, abs=1e-4)

    def test_bias_channels_count_from_one(self, tuner: Tuner) -> None:
        """Channel 0 and the one after the last do not exist."""
        for channel in (0, tuner.bias_channels + 1):
            with pytest.raises(ValueError, match=str(channel)):
                tuner.set_bias(channel, 0.0)

    def test_safe_and_close_may_be_called_again(self, tuner: Tuner) -> None:
        """Making safe keeps the tuner usable; closing twice is no error."""
        tuner.make_safe()
        assert tuner.positions()
        tuner.close()
        tuner.close()
        tuner.make_safe()
