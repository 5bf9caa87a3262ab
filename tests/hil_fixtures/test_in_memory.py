"""The world behind the driver protocols without wires, and that wires show the same."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coilbench.base.errors import InstrumentFault, LimitExceeded, ReplyTimeout, RunAborted
from coilbench.procedures.tune import NucleusPorts, TunePlan, tune
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from drivers.protocols import NetworkAnalyzer, Segment, SweepPlan, Tuner
from hil_fixtures.contracts.analyzer import AnalyzerContract
from hil_fixtures.contracts.tuner import TunerContract
from hil_fixtures.in_memory import in_memory
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics.workmanship import UNMODELLED
from hil_fixtures.physics.world import World, WorldSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAN = SweepPlan((Segment(33e6, 34e6, 31), Segment(127e6, 128e6, 21)))


class TestMemoryAnalyzer(AnalyzerContract):
    """The analyzer in memory keeps what drivers keep."""

    @pytest.fixture
    def analyzer(self) -> Iterator[NetworkAnalyzer]:
        with closing(in_memory(World(WorldSettings(channels=4), 1))[0]) as analyzer:
            yield analyzer

    def test_an_abort_ends_a_sweep_within_half_a_second(
        self, analyzer: NetworkAnalyzer, plan: SweepPlan, slow_plan: SweepPlan
    ) -> None:
        """Sweeps take no time here: an abort is obeyed before the sweep."""
        analyzer.configure(slow_plan)
        with pytest.raises(RunAborted):
            analyzer.sweep(abort=lambda: True)
        analyzer.configure(plan)
        assert analyzer.sweep(analyzer.reflection_ports[:1]).f.size == plan.points


class TestMemoryTuner(TunerContract):
    """The tuner in memory keeps what drivers keep."""

    @pytest.fixture
    def tuner(self) -> Iterator[Tuner]:
        with closing(in_memory(World(WorldSettings(channels=4), 1))[1]) as tuner:
            yield tuner


def test_noise_is_what_was_asked_for() -> None:
    """-70 dB at 1 kHz, ten times the power at 10 kHz, a quarter with four averages; chi-square, 4 sigma."""
    world = World(seed=2)
    analyzer, _ = in_memory(world, seed=3)
    for bandwidth, averages, power in ((1e3, 1, 1e-7), (1e4, 1, 1e-6), (1e3, 4, 2.5e-8)):
        analyzer.configure(SweepPlan(PLAN.segments, bandwidth, averages=averages))
        network = analyzer.sweep()
        error = network.s - world.scattering(network.f)
        found = np.mean(np.abs(error) ** 2)
        assert found == pytest.approx(power, rel=4.0 / np.sqrt(error.size))
        assert abs(np.mean(error.real * error.imag)) < 4.0 * power / np.sqrt(error.size)


def test_requests_are_counted_and_an_approach_is_no_second_move() -> None:
    world = World(seed=1)
    analyzer, tuner = in_memory(world)
    ledger = analyzer.ledger
    assert ledger is tuner.ledger
    analyzer.configure(PLAN)
    analyzer.sweep((3, 1, 9))
    tuner.move({"ch1.na.tune": 500, "ch2.na.tune": 600})
    tuner.move({"ch1.na.tune": 560, "ch2.na.tune": 600})
    assert (ledger.sweeps, ledger.port_sweeps, ledger.moves) == (1, 3, 2)
    analyzer.sweep()
    tuner.move({"ch1.na.tune": 570})
    assert (ledger.sweeps, ledger.port_sweeps, ledger.moves) == (2, 19, 3)
    with pytest.raises(LimitExceeded):
        tuner.move({"ch1.na.tune": 4001})
    assert ledger.refused == 1


def test_one_sweep_in_n_fails_as_drivers_report_it_and_can_be_repeated() -> None:
    """Of 400 sweeps 1 in 5 fails (binomial, 4 sigma), in both ways; the others are whole."""
    analyzer, _ = in_memory(World(WorldSettings(channels=4), 0), seed=5)
    analyzer.configure(SweepPlan((Segment(33e6, 34e6, 2),)))
    analyzer.faults.every = 5
    kinds: list[type] = []
    for _ in range(400):
        try:
            assert analyzer.sweep((1,)).s.shape == (2, 1, 1)
        except (InstrumentFault, ReplyTimeout) as error:
            kinds.append(type(error))
    assert len(kinds) == pytest.approx(80, abs=4.0 * np.sqrt(400 * 0.2 * 0.8))
    assert set(kinds) == {InstrumentFault, ReplyTimeout}
    assert analyzer.ledger.failed == len(kinds)


def test_drift_pulls_a_tuned_array_away_sweep_by_sweep() -> None:
    world = World.tuned(3)
    analyzer, _ = in_memory(world)
    analyzer.configure(PLAN)
    before = world.capacitances()
    analyzer.faults.drift = 1e-4
    for _ in range(10):
        analyzer.sweep((1,))
    np.testing.assert_allclose(world.capacitances() / before, 1.0001**10, rtol=1e-12)


def test_memory_and_wires_show_the_same_imperfect_calibration() -> None:
    """-38 dB of directivity and the delays are on the ZNBT's display too, beyond 20 times its noise."""
    settings = WorldSettings(workmanship=UNMODELLED)
    with (
        Lab(settings, seed=4) as lab,
        closing(open_analyzer(lab.addresses["analyzer_hislip"], name="analyzer")) as wired,
    ):
        analyzer, _ = in_memory(lab.world)
        plan = SweepPlan(PLAN.segments, 100.0)
        ports = (2, 11)
        shown = []
        for instrument in (wired, analyzer):
            instrument.configure(plan)
            shown.append(instrument.sweep(ports).s)
        places = np.array(ports) - 1
        axis = np.concatenate([np.linspace(one.start, one.stop, one.points) for one in plan.segments])
        truth = lab.world.scattering(axis)[:, places[:, None], places]
    assert np.max(np.abs(shown[0] - shown[1])) < 1e-3
    assert np.max(np.abs(shown[0] - truth)) > 10 ** (-38 / 20)


def test_an_array_is_tuned_in_memory_by_the_procedure() -> None:
    """`tune` takes these instruments as they are, and the ledger agrees with its own counts."""
    world = World(seed=4)
    analyzer, tuner = in_memory(world, seed=4, noise_db=-75.0)
    low, high = world.frequencies
    nuclei = (
        NucleusPorts("23Na", low, tuple(range(1, 9)), "na"),
        NucleusPorts("1H", high, tuple(range(9, 17)), "h"),
    )
    result = tune(analyzer, tuner, TunePlan(nuclei, points=101))
    assert result.reached
    assert result.sweeps == analyzer.ledger.sweeps
    assert analyzer.ledger.port_sweeps <= 16 * result.sweeps
    assert analyzer.ledger.refused == 0
