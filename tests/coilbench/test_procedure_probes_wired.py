"""Detuning, preamplifier decoupling and Q by two probes, over real wires, against one channel's circuit.

The truth is one channel's ring written as impedances, with what its ports end in and the diodes' branches.
All other channels are detuned while one is measured.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import brentq

from coilbench import procedures as do
from coilbench.base.errors import InstrumentError, MeasurementError, RunAborted
from drivers.actuators.tune_controller import open_tuner
from drivers.analyzers.rohde_schwarz_znb import open_analyzer
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics import parts
from hil_fixtures.physics.network import loop_impedance
from hil_fixtures.physics.probe_stand import Preamplifiers, StandSettings
from hil_fixtures.physics.probes import ProbePair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coilbench.base.events import Event
    from coilbench.procedures.detune import DetuningResult
    from coilbench.procedures.qfactor import QResult
    from drivers.protocols import TransientAnalyzer, Tuner
    from hil_fixtures.physics.world import World

PROBES = do.ProbeReading((17, 18))
BIAS = 0.08
LIFETIME = 4e-6


@dataclass
class Stand:
    """A lab with probes, its open instruments and the ports of its array."""

    lab: Lab
    analyzer: TransientAnalyzer
    tuner: Tuner
    nuclei: tuple[do.NucleusPorts, do.NucleusPorts]

    @property
    def is_safe(self) -> bool:
        state = self.lab.state
        return not any(state["rf"].values()) and not any(state["bias"])

    @property
    def is_as_before(self) -> bool:
        stand = self.lab.stand
        assert stand is not None
        return self.lab.world.load is not None and set(stand.endings) == {"analyzer"}


@contextmanager
def stand(seed: int, phase_error: float = 0.0, residual: float = 1e-4) -> Iterator[Stand]:
    """Start a lab with probes and open its analyzer and tuner."""
    settings = StandSettings(ProbePair(residual=residual), Preamplifiers(2.0, phase_error), LIFETIME)
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(seed=seed, tuned=True, probes=settings))
        analyzer = stack.enter_context(closing(open_analyzer(lab.addresses["analyzer_hislip"], name="a")))
        tuner = stack.enter_context(closing(open_tuner(lab.addresses["tuner"], name="t")))
        low, high = lab.world.frequencies
        nuclei = (
            do.NucleusPorts("23Na", low, tuple(range(1, 9)), "na"),
            do.NucleusPorts("1H", high, tuple(range(9, 17)), "h"),
        )
        yield Stand(lab, analyzer, tuner, nuclei)


def procedures(bench: Stand) -> list[tuple[Callable[..., object], object]]:
    """Return what reads probes, each with a plan."""
    return [
        (do.measure_detuning, do.DetunePlan(bench.nuclei, PROBES, None, BIAS, False, None)),
        (do.measure_decoupling, do.DecouplePlan(bench.nuclei, PROBES)),
        (do.measure_q, do.QPlan(bench.nuclei, probes=(17, 18))),
    ]


def ring(
    world: World,
    channel: int,
    frequency: float,
    *,
    current: float = 0.0,
    ends: tuple[complex, complex] = (50.0, 50.0),
    is_empty: bool = False,
) -> complex:
    """Return the impedance of one channel's ring in ohm, cut open at the loop.

    ``ends`` are what the 23Na and the 1H port see, ohm; infinite is open.
    """
    axis, c = np.array([frequency]), channel - 1
    fixed = world.circuit.fixed
    tune_na, match_na, tune_h, match_h = (
        parts.capacitor_impedance(world.capacitances()[c : c + 1, column], axis)[0, 0] for column in range(4)
    )
    trap = (
        parts.inductor_impedance(fixed.trap_inductance[c : c + 1], axis)
        + parts.capacitor_impedance(fixed.trap_capacitance[c : c + 1], axis)
    )[0, 0]
    section_na, section_h = 1 / tune_na, 1 / tune_h + 1 / trap
    if np.isfinite(ends[0]):
        section_na += 1 / (match_na + ends[0])
    if np.isfinite(ends[1]):
        section_h += 1 / (match_h + ends[1])
    if current > 0.0:
        diode = parts.DIODE_BULK + parts.DIODE_CHARGE / current
        section_na += 1 / (parts.inductor_impedance(fixed.detune_na[c : c + 1], axis)[0, 0] + diode)
        section_h += 1 / (parts.inductor_impedance(fixed.detune_h[c : c + 1], axis)[0, 0] + diode)
    loop = loop_impedance(world.circuit, None if is_empty else world.load, axis)[0, c, c]
    return complex(loop + 1 / section_na + 1 / section_h)


def decibels(ratio: complex) -> float:
    return float(20.0 * np.log10(abs(ratio)))


def quality(world: World, channel: int, near: float, *, is_empty: bool) -> tuple[float, float]:
    """Return frequency and Q of a ring whose ports are open: X = 0, Q = f/2R dX/df."""

    def impedance(frequency: float) -> complex:
        return ring(world, channel, frequency, ends=(np.inf, np.inf), is_empty=is_empty)

    centre = float(brentq(lambda f: impedance(f).imag, 0.98 * near, 1.06 * near))
    step = 1e-5 * centre
    slope = (impedance(centre + step).imag - impedance(centre - step).imag) / (2 * step)
    return centre, centre * slope / (2 * impedance(centre).real)


@pytest.fixture(scope="module")
def detuned() -> Iterator[tuple[Stand, DetuningResult]]:
    """Return a bench and what it measured of one channel; switching recorded."""
    with stand(1) as bench:
        plan = do.DetunePlan(
            bench.nuclei, PROBES, channels=(3,), bias_current=BIAS, switching=do.SwitchingPlan(repeats=16)
        )
        yield bench, do.measure_detuning(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator)


def test_depth_of_detuning_is_the_circuits(detuned: tuple[Stand, DetuningResult]) -> None:
    """Both nuclei, 54 to 59 dB at the end of what probes can see: the 95 % interval holds the ring's ratio.

    The neighbours' share, one sixth of the coupling squared for each of two, reads 0.4 dB too little.
    """
    bench, result = detuned
    for row in result.channels:
        world = bench.lab.world
        tuned, off = (ring(world, row.channel, row.frequency, current=a) for a in (0.0, BIAS))
        truth = decibels(off / tuned)
        assert 50.0 < truth < 65.0
        assert row.depth.low_db - 0.4 < truth < row.depth.high_db + 0.4, (row.channel, row.nucleus, truth)
        assert row.depth.high_db - row.depth.low_db < 6.0
        assert row.depth.value_db == pytest.approx(truth, abs=2.0)


def test_without_the_backgrounds_the_depth_would_be_understated(
    detuned: tuple[Stand, DetuningResult],
) -> None:
    """What the probes see of each other, directly and by the phantom, would cost 3 dB and more at 1H."""
    bench, result = detuned
    for row in result.channels:
        if row.nucleus == "1H":
            raw = decibels(row.tuned.value / row.detuned.value)
            truth = decibels(
                ring(bench.lab.world, row.channel, row.frequency, current=BIAS)
                / ring(bench.lab.world, row.channel, row.frequency)
            )
            assert raw < truth - 3.0


def test_switching_follows_the_diodes_charge(detuned: tuple[Stand, DetuningResult]) -> None:
    """Tuned again when the current of the ring has come to within 10 % of its step; I(t) = I0 exp(-t/tau).

    Detuned is within the first sample or two: the charge of 0.1 us is enough to block the ring.
    """
    bench, result = detuned
    assert not result.refusals
    for row in result.switching:
        frequency = bench.nuclei[("23Na", "1H").index(row.nucleus)].frequency
        start, end = (1 / ring(bench.lab.world, row.channel, frequency, current=a) for a in (BIAS, 0.0))

        def away(time: float, channel: int = row.channel, at: float = frequency) -> float:
            now = 1 / ring(bench.lab.world, channel, at, current=BIAS * np.exp(-time / LIFETIME))
            return abs(now - end) / abs(start - end) - 0.1  # noqa: B023 - called before the loop goes on

        truth = brentq(away, 1e-6, 90e-6)
        assert row.on.settling == pytest.approx(truth, abs=4.0 * row.on.uncertainty + 0.5e-6)
        assert 35e-6 < truth < 60e-6
        assert row.off.settling < 6e-6


def test_the_bench_is_left_safe_and_as_it_was(detuned: tuple[Stand, DetuningResult]) -> None:
    """RF and bias off, phantom in; the operator was asked for probes and phantom in words for people."""
    bench, result = detuned
    assert bench.is_safe
    assert bench.is_as_before
    heard = bench.lab.operator.heard
    assert sum("probes" in sentence for sentence in heard) == 3
    assert sum("phantom" in sentence for sentence in heard) == 2
    assert json.loads(json.dumps(result.data()))["channels"][0]["channel"] == 3


def test_preamplifier_decoupling_is_the_circuits_and_the_s_matrix_the_arrays() -> None:
    """22 dB for 2 ohm: within the interval and 0.3 dB; pairs and levels of the worst S_ij are the world's."""
    with stand(4) as bench:
        world, rig = bench.lab.world, bench.lab.stand
        assert rig is not None
        plan = do.DecouplePlan(bench.nuclei, PROBES, channels=(2, 5), bias_current=BIAS)
        told: list[Event] = []
        result = do.measure_decoupling(
            bench.analyzer, bench.tuner, plan, ask=bench.lab.operator, emit=told.append
        )
        axis = np.array(world.frequencies)
        reflections = rig.reflections(("preamplifier",) * 16, axis)
        for row in result.preamplifiers:
            nucleus = ("23Na", "1H").index(row.nucleus)
            gamma = reflections[nucleus, row.port - 1]
            ends = [50.0 + 0j, 50.0 + 0j]
            ends[nucleus] = 50.0 * (1 + gamma) / (1 - gamma)
            with_it = ring(world, row.channel, row.frequency, ends=(ends[0], ends[1]))
            truth = decibels(with_it / ring(world, row.channel, row.frequency))
            assert row.decoupling.value_db == pytest.approx(truth, abs=0.3)
            assert 20.0 < truth < 24.0
        true = world.scattering(axis)
        for place, found in enumerate(result.nuclei):
            own = np.array(found.ports) - 1
            foreign = np.setdiff1d(np.arange(16), own)
            np.testing.assert_allclose(found.s, true[place][np.ix_(own, own)], atol=1e-3)
            couplings = np.abs(found.s - np.diag(np.diag(found.s)))
            assert found.worst_coupling is not None
            assert found.isolation is not None
            assert found.worst_coupling.value_db == pytest.approx(-decibels(couplings.max()), abs=0.01)
            across = np.abs(true[place][np.ix_(own, foreign)]).max()
            assert found.isolation.value_db == pytest.approx(-decibels(across), abs=0.05)
            assert found.isolation_pair is not None
            pair = np.array(found.isolation_pair) - 1
            assert abs(true[place][pair[0], pair[1]]) == pytest.approx(across, rel=1e-3)
        assert bench.is_safe
        assert bench.is_as_before
        assert sum(event.kind == "decouple.preamplifier" for event in told) == 4
        assert json.loads(json.dumps(result.data()))["preamplifiers"][0]["channel"] == 2


def test_a_cable_that_is_worse_than_none_is_found_and_its_advice_decouples() -> None:
    """1.2 rad too long: less than -4 dB; the advice says how much to cut, and with it 20 dB are there."""
    error = 1.2
    with stand(1, error) as bench:
        plan = do.DecouplePlan(bench.nuclei, PROBES, channels=(1,), bias_current=BIAS)
        wrong = do.measure_decoupling(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator)
    for row in wrong.preamplifiers:
        assert row.decoupling.high_db < -4.0
        assert row.advice is not None
        assert row.advice.is_worse_than_none
        assert row.advice.change == pytest.approx(-error, abs=0.03)
    for row in wrong.preamplifiers:
        assert row.advice is not None
        with stand(1, error + row.advice.change) as bench:
            one = do.DecouplePlan(
                bench.nuclei, PROBES, preamplified=(row.nucleus,), channels=(1,), bias_current=BIAS
            )
            (right,) = do.measure_decoupling(
                bench.analyzer, bench.tuner, one, ask=bench.lab.operator
            ).preamplifiers
        assert right.decoupling.low_db > 20.0


@pytest.fixture(scope="module")
def by_probes() -> Iterator[tuple[Stand, QResult]]:
    """Return a bench and the Q of two channels by probes."""
    with stand(2) as bench:
        plan = do.QPlan(bench.nuclei, probes=(17, 18), channels=(2, 7), bias_current=BIAS)
        yield bench, do.measure_q(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator)


def test_q_by_probes_is_the_open_rings_with_and_without_the_phantom(
    by_probes: tuple[Stand, QResult],
) -> None:
    """Frequency to 0.01 %, Q to 0.2 %: the detuned neighbours' share, which one ring alone does not know."""
    bench, result = by_probes
    for row in result.channels:
        near = bench.nuclei[("23Na", "1H").index(row.nucleus)].frequency
        for fit, is_empty in ((row.loaded, False), (row.unloaded, True)):
            assert fit is not None
            centre, q = quality(bench.lab.world, row.channel, near, is_empty=is_empty)
            assert fit.frequency == pytest.approx(centre, rel=1e-4)
            assert fit.q_unloaded == pytest.approx(q, rel=2e-3)
            assert abs(fit.q_unloaded - q) < 2.0 * fit.uncertainty.q_unloaded < 0.01 * q
            assert fit.coupling < 0.05, "probes must not load the loop"


def test_the_samples_share_follows_from_both_qs(by_probes: tuple[Stand, QResult]) -> None:
    """sqrt(1 - Q_L/Q_U) and -10 log10 of its square, against the rings' own, to 0.3 %."""
    bench, result = by_probes
    for row in result.channels:
        near = bench.nuclei[("23Na", "1H").index(row.nucleus)].frequency
        with_it = quality(bench.lab.world, row.channel, near, is_empty=False)[1]
        without = quality(bench.lab.world, row.channel, near, is_empty=True)[1]
        assert row.loading is not None
        assert row.loading.ratio.value == pytest.approx(without / with_it, rel=3e-3)
        assert row.loading.snr_share.value == pytest.approx(np.sqrt(1 - with_it / without), rel=3e-3)
        assert row.loading.ratio.value > 1.2


def test_ports_and_phantom_are_back_after_q(by_probes: tuple[Stand, QResult]) -> None:
    bench, result = by_probes
    assert bench.is_safe
    assert bench.is_as_before
    assert result.method == "probes"
    assert json.loads(json.dumps(result.data()))["channels"][3]["nucleus"] == "1H"


def test_q_by_reflection_needs_no_probes_and_counts_the_other_port_as_loss() -> None:
    """At the port's own frequency: Q of the ring whose own port is open and whose other port has 50 ohm.

    23Na to 2 %: the port's circle is taken at 33.8 MHz, the open ring resonates 2 % higher.
    """
    with stand(3) as bench:
        plan = do.QPlan(bench.nuclei[:1], channels=(4,), bias_current=BIAS)
        (row,) = do.measure_q(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator).channels
        near = bench.nuclei[0].frequency
        assert not any("probes" in sentence for sentence in bench.lab.operator.heard)

        def impedance(frequency: float) -> complex:
            return ring(bench.lab.world, 4, frequency, ends=(np.inf, 50.0))

        centre = float(brentq(lambda f: impedance(f).imag, 0.98 * near, 1.06 * near))
        slope = (impedance(1.00001 * centre).imag - impedance(0.99999 * centre).imag) / (2e-5 * centre)
        q = centre * slope / (2 * impedance(centre).real)
    assert row.loaded is not None
    assert row.loaded.frequency == pytest.approx(near, rel=1e-3)
    assert row.loaded.q_unloaded == pytest.approx(q, rel=0.02)
    # directivity and source match of 0.0025 each move Q_0 by κ times that: NPL Report MAT 58, section 2.5
    least = 0.0025 * row.loaded.coupling * row.loaded.q_unloaded
    assert row.loaded.uncertainty.q_unloaded == pytest.approx(least, rel=0.2)


@pytest.mark.parametrize("moment", [1, 3])
def test_an_abort_leaves_bias_and_rf_off_and_everything_connected(moment: int) -> None:
    """Stopped at the first reading or later, in each of the three procedures."""
    with stand(5) as bench:
        for measure, plan in procedures(bench):
            asked: list[bool] = []

            def abort(asked: list[bool] = asked) -> bool:
                asked.append(True)
                return len(asked) > moment

            with pytest.raises(RunAborted):
                measure(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator, abort=abort)
            assert bench.is_safe, measure
            assert bench.is_as_before, measure


@pytest.mark.parametrize(
    ("measure", "moment"),
    [("detune", "out of the array"), ("decouple", "to the preamplifier"), ("q", "leave it open")],
)
def test_bias_is_off_before_hands_are_asked_to_undo_what_an_abort_left(measure: str, moment: str) -> None:
    """A person may take minutes to answer, or has left: until then no bias stays on, nor RF."""
    with stand(5) as bench:
        wanted: dict[str, Callable[..., object]] = {
            "detune": lambda **how: do.measure_detuning(
                bench.analyzer, bench.tuner, do.DetunePlan(bench.nuclei, PROBES, switching=None), **how
            ),
            "decouple": lambda **how: do.measure_decoupling(
                bench.analyzer, bench.tuner, do.DecouplePlan(bench.nuclei, PROBES), **how
            ),
            "q": lambda **how: do.measure_q(
                bench.analyzer, bench.tuner, do.QPlan(bench.nuclei[:1], probes=(17, 18)), **how
            ),
        }
        heard: list[str] = []
        safe: list[bool] = []

        def ask(sentence: str) -> None:
            if aborted():
                safe.append(bench.is_safe)
            heard.append(sentence)
            bench.lab.operator(sentence)

        def aborted() -> bool:
            return any(moment in sentence for sentence in heard)

        with pytest.raises(RunAborted):
            wanted[measure](ask=ask, abort=aborted)
        assert safe == [True]
        assert bench.is_as_before


def test_an_abort_stays_the_error_where_nobody_is_there_to_undo() -> None:
    """What was not undone is a note on it."""
    with stand(5) as bench:
        heard: list[str] = []

        def ask(sentence: str) -> None:
            if "into the array" in sentence:
                raise RunAborted("nobody answered")
            heard.append(sentence)
            bench.lab.operator(sentence)

        def aborted() -> bool:
            return any("out of the array" in sentence for sentence in heard)

        plan = do.DetunePlan(bench.nuclei, PROBES, switching=None)
        with pytest.raises(RunAborted, match="stopped before a reading") as caught:
            do.measure_detuning(bench.analyzer, bench.tuner, plan, ask=ask, abort=aborted)
        assert any("Put the phantom into the array" in note for note in caught.value.__notes__)
        assert bench.is_safe


def test_an_operator_who_cannot_leaves_the_bench_safe() -> None:
    """The refusal is raised as it is; no bias stays on."""

    def cannot(sentence: str) -> None:
        if "loop 2" in sentence:
            raise KeyboardInterrupt
        bench.lab.operator(sentence)

    with stand(5) as bench:
        plan = do.DetunePlan(bench.nuclei, PROBES, channels=(1, 2), with_phantom_out=False, switching=None)
        with pytest.raises(KeyboardInterrupt):
            do.measure_detuning(bench.analyzer, bench.tuner, plan, ask=cannot)
        assert bench.is_safe


def test_a_controller_that_falls_silent_is_named_and_switches_off_by_itself() -> None:
    """Bias is on when it stops answering: a typed error that names it, and its watchdog ends the bias."""

    def silence(sentence: str) -> None:
        if "loop 2" in sentence:
            assert any(bench.lab.state["bias"])
            bench.lab.faults.tuner.silent = True
        bench.lab.operator(sentence)

    with stand(5) as bench:
        plan = do.DetunePlan(bench.nuclei, PROBES, channels=(1, 2), with_phantom_out=False, switching=None)
        with pytest.raises(InstrumentError, match=r"^t ") as caught:
            do.measure_detuning(bench.analyzer, bench.tuner, plan, ask=silence)
        assert any("could not be switched off" in note for note in caught.value.__notes__)
        deadline = time.monotonic() + 10.0
        while any(bench.lab.state["bias"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not any(bench.lab.state["rf"].values())
        bench.lab.faults.tuner.silent = False


def test_intervals_of_the_depth_hold_what_they_promise() -> None:
    """Two arrays, 8 channels, two nuclei: at least 27 of 32 rings lie in their 95 % intervals.

    With 95 % fewer than 27 of 32 happen once in 200 times (binomial).
    """
    held = []
    for seed in (2, 5):
        with stand(seed) as bench:
            plan = do.DetunePlan(bench.nuclei, PROBES, bias_current=BIAS, switching=None)
            result = do.measure_detuning(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator)
            for row in result.channels:
                tuned, off = (
                    ring(bench.lab.world, row.channel, row.frequency, current=a) for a in (0.0, BIAS)
                )
                truth = decibels(off / tuned)
                held.append(row.depth.low_db < truth < row.depth.high_db)
                assert row.depth.value_db == pytest.approx(truth, abs=2.5)
    assert len(held) == 32
    assert sum(held) >= 27, sum(held)


def test_probes_that_see_each_other_are_refused_before_anything_is_measured() -> None:
    """An overlap that leaves k = 0.3 %, -50 dB at 1H: every procedure says so and asks for nothing more."""
    with stand(6, residual=3e-3) as bench:
        for measure, plan in procedures(bench):
            with pytest.raises(MeasurementError, match="the probes see each other"):
                measure(bench.analyzer, bench.tuner, plan, ask=bench.lab.operator)
            assert bench.is_safe
        assert len(bench.lab.operator.heard) == 3


def test_probes_that_see_no_channel_are_told_so() -> None:
    """Held in the air all the time: the reading is not clear of its uncertainty, and the channel is named."""

    def nowhere(sentence: str) -> None:
        del sentence

    with stand(6) as bench:
        plan = do.DetunePlan(bench.nuclei, PROBES, channels=(1,), with_phantom_out=False, switching=None)
        with pytest.raises(MeasurementError, match="closer") as caught:
            do.measure_detuning(bench.analyzer, bench.tuner, plan, ask=nowhere)
        assert "channel 1, 23Na" in caught.value.__notes__
        assert bench.is_safe
