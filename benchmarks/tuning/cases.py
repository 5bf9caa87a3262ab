"""The cases of the campaign: how the array is built and what is wrong with the bench."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from hil_fixtures.physics.settings import WorldSettings
from hil_fixtures.physics.workmanship import CAREFUL, HARD, NOMINAL, UNMODELLED, Workmanship

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hil_fixtures.physics.world import World


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of bench.

    Parameters
    ----------
    workmanship
        Spreads of the array, and residual errors of the analyzer.
    channels
        Loops.
    grip
        Part of its moves that one axis, drawn by the seed, passes on; None: all are sound.
    failing
        One sweep in so many fails; 0: none.
    drift
        Growth of all trimmers' capacitances from sweep to sweep.
    is_load_change
        The array is tuned once, then its load changes, and what is counted is the second tuning.
    check_motors
        The tuner probes and homes all axes at the end: nothing else shows a trimmer that is stuck where it is
        wanted, or a motor that slips.
    """

    workmanship: Workmanship = NOMINAL
    channels: int = 8
    grip: float | None = None
    failing: int = 0
    drift: float = 0.0
    is_load_change: bool = False
    check_motors: bool = False

    def settings(self) -> WorldSettings:
        """Return what makes the world."""
        return WorldSettings(channels=self.channels, workmanship=self.workmanship)

    def spoil(self, world: World, seed: int) -> str:
        """Break one axis if the case says so, and return its name or nothing."""
        if self.grip is None:
            return ""
        culprit = str(np.random.default_rng([seed, 7]).choice(world.axis_names))
        world.set_grip(culprit, self.grip)
        return culprit


def change_load(world: World) -> None:
    """Halve the phantom's conductivity, lower the copper's loss by 10 %, raise the inductances by 0.4 %."""
    load = world.load
    world.set_load(0.5 * (load.conductivity if load is not None else world.settings.load_conductivity))
    world.reshape_loops(1.004, 0.9)


#: 1 in 20 sweeps fails: a bad cable contact or a busy network.
CASES: Final[Mapping[str, Case]] = MappingProxyType(
    {
        "careful": Case(CAREFUL),
        "nominal": Case(),
        "unmodelled": Case(UNMODELLED),
        "hard": Case(HARD),
        "stuck": Case(grip=0.0, check_motors=True),
        "slipping": Case(grip=0.9, check_motors=True),
        "failing": Case(failing=20),
        # 50 ppm from sweep to sweep: a few degrees over a tuning with ceramic trimmers of 100 ppm/K
        "drift": Case(drift=5e-5),
        "retune": Case(is_load_change=True),
        "channels4": Case(channels=4),
        "channels16": Case(channels=16),
        "channels32": Case(channels=32),
    }
)
