"""The design helper: parts from a drawer that tune, reach and cost what is said; or why there are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coilbench.base.nuclei import nucleus
from coils.circuit.coil import Loops, PartQuality, performance, single_loop
from coils.circuit.design import Request, design_dual_tuned
from coils.circuit.dual_tuned import MATCH_HIGH, MATCH_LOW, TUNE_HIGH, TUNE_LOW, trap_coil, trap_loop
from coils.circuit.expand import array_netlist
from coils.circuit.feasibility import first_order_snr
from coils.circuit.geometry import loops_from_matrices
from coils.circuit.netlist import Coupled, Impedance, Netlist, Part, Port
from coils.circuit.nodal import solve_netlist
from coils.circuit.series import E_SERIES, available, nearest, split
from coils.circuit.trade_off import trade_off
from coils.magnetics.half_space import circle_resistance
from coils.magnetics.loops import circle
from coils.magnetics.matrices import array_matrices
from coils.magnetics.samples import HalfSpace, Sphere
from coils.magnetics.strip import Strip

FREQUENCIES = (33.8e6, 127.7e6)
INDUCTANCE = 295e-9
COILS = (60e-9, 110e-9, 200e-9, 350e-9)


def loaded_loop(low: float = 1.0) -> Loops:
    """Return a loop of Q 191 at 23Na and 146 at 1H."""
    omega = 2 * np.pi * np.array(FREQUENCIES)
    resistance = omega * INDUCTANCE / np.array([191.0, 146.0])
    return single_loop(INDUCTANCE, FREQUENCIES, (low * float(resistance[0]), float(resistance[1])))


def test_series_are_rounded_powers_of_ten() -> None:
    """IEC 60063: E12 and E24 follow 10^(k/n) to the rounding and its known exceptions (2.7 to 4.7, 8.2)."""
    for name, count in (("E6", 6), ("E12", 12), ("E24", 24)):
        exact = 10 ** (np.arange(count) / count)
        assert np.max(np.abs(np.array(E_SERIES[name]) / exact - 1)) < 0.05
        assert set(E_SERIES["E6"]) <= set(E_SERIES[name])
    values = available("E12")
    assert values[0] == pytest.approx(1e-12)
    assert values[-1] == pytest.approx(1e-9)
    assert len(values) == 3 * 12 + 1
    assert available([3e-12, 1e-12]) == (1e-12, 3e-12)
    assert nearest(5e-12, values) == pytest.approx(4.7e-12)
    for bad, text in (("E5", "no series"), ([], "at least one"), ([-1e-12], "above 0")):
        with pytest.raises(ValueError, match=text):
            available(bad)


@settings(deadline=None, max_examples=50)
@given(
    target=st.floats(2e-12, 5e-10),
    down=st.floats(0.0, 0.3),
    up=st.floats(0.0, 0.3),
    tolerance=st.floats(0, 0.1),
)
def test_fixed_and_trimmer_reach_all_that_may_be_needed(
    target: float, down: float, up: float, tolerance: float
) -> None:
    """Whatever the fixed capacitor is within its tolerance, the trimmer's range covers the rest."""
    reach = (target * (1 - down), target * (1 + up))
    part = split(target, available("E24"), reach=reach, tolerance=tolerance)
    for actual in (part.fixed * (1 - tolerance), part.fixed, part.fixed * (1 + tolerance)):
        assert part.low <= reach[0] - actual + 1e-24
        assert part.high >= reach[1] - actual - 1e-24
    assert part.low >= 1e-12 - 1e-24
    assert part.low <= part.middle <= part.high
    # no larger capacitor would do
    larger = [c for c in available("E24") if c > part.fixed]
    assert not larger or larger[0] * (1 + tolerance) + 1e-12 > reach[0]


def test_what_a_trimmer_cannot_do_is_refused() -> None:
    """Less than a trimmer's minimum, or a target out of its own reach."""
    with pytest.raises(ValueError, match="less is needed"):
        split(0.8e-12, available("E24"), reach=(0.7e-12, 0.9e-12))
    with pytest.raises(ValueError, match="must be between"):
        split(5e-12, available("E24"), reach=(6e-12, 9e-12))


def test_trade_off_is_the_known_curve() -> None:
    """Q 191/146 loop, Q 220 coil, Q 900 capacitors: SNR 23Na/1H within 0.02 of a separate calculation.

    That one, for a drawn loop of about this inductance, gave 0.87/0.30 at 40 nH to 0.66/0.75 at 300 nH.
    """
    known = {
        40e-9: (0.87, 0.30),
        80e-9: (0.84, 0.50),
        120e-9: (0.80, 0.60),
        200e-9: (0.73, 0.70),
        300e-9: (0.66, 0.75),
    }
    curve = trade_off(loaded_loop(), FREQUENCIES, [20e-9, *known])
    assert curve.inductances == pytest.approx(list(known))
    assert [inductance for inductance, _ in curve.impossible] == [20e-9]
    assert "at least" in curve.impossible[0][1]
    table = np.array(list(known.values()))
    assert np.max(np.abs(curve.low - table[:, 0])) < 0.02
    assert np.max(np.abs(curve.high - table[:, 1])) < 0.02
    # what one nucleus gains the other loses
    assert np.all(np.diff(curve.low) < 0)
    assert np.all(np.diff(curve.high) > 0)
    assert curve.best(low_importance=1.0) == 0
    assert curve.best(low_importance=0.0) == len(known) - 1
    with pytest.raises(ValueError, match="no trap can be built"):
        trade_off(loaded_loop(), FREQUENCIES, [5e-9])


def test_first_order_losses_are_the_exact_ones_of_good_parts() -> None:
    """With ten times better parts the estimate's error falls by about a hundred in what it counts.

    Not counted are the match capacitors, so they get no loss of their own here: the comparison is with a coil
    whose capacitors are ideal.
    """
    values = trap_loop(INDUCTANCE, FREQUENCIES, 120e-9, 82e-12)
    errors = []
    for q in (220.0, 2200.0):
        quality = PartQuality(np.inf, q)
        estimate = np.array(first_order_snr(values, loaded_loop(), FREQUENCIES, quality))
        exact = [
            port.part_snr for port in performance(trap_coil(loaded_loop(), FREQUENCIES, values, quality))
        ]
        errors.append(np.abs(estimate - exact))
    assert np.all(errors[0] < 0.02)
    assert np.all(errors[1] < 0.2 * errors[0])


def test_design_is_built_from_the_drawer_and_matched() -> None:
    """C1 is a standard value, all fixed capacitors too; both ports are matched at the Larmor frequencies."""
    design = design_dual_tuned(Request(3.0, ("1H", "23Na"), loaded_loop(), "E12", COILS))
    drawer = available("E12")
    assert design.trap_series in drawer
    assert all(part.fixed in (0.0, *drawer) for part in design.trimmed.values())
    larmor = [nucleus(name).larmor_frequency(3.0) for name in ("23Na", "1H")]
    assert [port.frequency for port in design.ports] == pytest.approx(larmor)
    assert all(port.reflection_db < -200 for port in design.ports)
    assert {"Ct.low", "Cm.low", "C2", "Cm.high"} == set(design.trimmed)
    text = "\n".join(design.lines())
    assert "C1" in text
    assert "detuning at 33.79 MHz" in text


def test_trimmers_of_a_design_reach_coils_that_came_out_otherwise() -> None:
    """Loops 2 % off, loads 15 % off, C1 and Lt 1 % off, each matched anew: within every trimmer's range."""
    design = design_dual_tuned(Request(3.0, ("23Na", "1H"), loaded_loop(), trap_coils=COILS))
    rng = np.random.default_rng(2)
    low, high = (nucleus(name).larmor_frequency(3.0) for name in ("23Na", "1H"))
    for _ in range(6):
        loop, load, part, c1 = 1 + np.array([0.02, 0.15, 0.01, 0.01]) * rng.uniform(-1, 1, 4)
        nominal = loaded_loop()
        built = Loops(nominal.inductance * loop, nominal.copper, nominal.sample * load)
        values = trap_loop(INDUCTANCE * loop, (low, high), design.trap_coil * part, design.trap_series * c1)
        needed = trap_coil(built, (low, high), values).values()[0]
        for name in (TUNE_LOW, MATCH_LOW, TUNE_HIGH, MATCH_HIGH):
            trimmer = float(needed[name][0]) - design.trimmed[name].fixed
            assert design.trimmed[name].low <= trimmer <= design.trimmed[name].high


def test_detuning_inductors_block_their_nucleus() -> None:
    """Written out part by part, an emf drives less current through the detuned loop by the depth stated."""
    design = design_dual_tuned(Request(3.0, ("23Na", "1H"), loaded_loop(), trap_coils=COILS))
    for place, each in enumerate(design.detuning):
        axis = np.array([each.frequency])
        coil = design.coil
        tuned = array_netlist(coil.circuit, coil.loops.impedance(axis), axis)
        q = 220 * np.sqrt(each.frequency / 33.8e6)
        branch = 2 * np.pi * each.frequency * each.inductance * (1j + 1 / q) + 0.5
        across = Part(Impedance("detuning", np.array([branch])), (f"0.0.ring{place}", f"0.0.ring{place + 1}"))
        detuned = Netlist((*tuned.parts, across), tuned.ports)

        def current(netlist: Netlist, axis: np.ndarray = axis) -> float:
            """Return what an emf in the loop drives, its source a port of a microohm."""
            loop = next(part for part in netlist.parts if isinstance(part, Coupled))
            opened = Coupled(loop.name, (("gap", loop.branches[0][1]),), loop.inductance, loop.resistance)
            others = [part for part in netlist.parts if part is not loop]
            terminations = [
                Part(Impedance(f"port{k}", np.array([50.0 + 0j])), port.terminals)
                for k, port in enumerate(netlist.ports)
            ]
            parts = (*others, *terminations, opened)
            driven = Netlist(parts, (Port((loop.branches[0][0], "gap"), 1e-6),))
            return float(abs(solve_netlist(driven, axis).current(loop.name)[0, 0, 0]))

        depth = 20 * np.log10(current(tuned) / current(detuned))
        assert depth == pytest.approx(each.depth_db, abs=1e-3)
        assert each.depth_db > 50


def test_preferences_move_the_choice() -> None:
    """Importance of 23Na gives it SNR, floors are kept, impossible wishes are answered with reasons."""
    sodium = design_dual_tuned(
        Request(3.0, ("23Na", "1H"), loaded_loop(), trap_coils=COILS, low_importance=0.9)
    )
    proton = design_dual_tuned(
        Request(3.0, ("23Na", "1H"), loaded_loop(), trap_coils=COILS, low_importance=0.1)
    )
    assert sodium.ports[0].part_snr > proton.ports[0].part_snr + 0.1
    assert proton.ports[1].part_snr > sodium.ports[1].part_snr + 0.1
    floor = design_dual_tuned(
        Request(3.0, ("23Na", "1H"), loaded_loop(), trap_coils=COILS, low_snr_at_least=0.82)
    )
    assert floor.ports[0].part_snr >= 0.82
    with pytest.raises(ValueError, match="costs more SNR than allowed"):
        design_dual_tuned(
            Request(3.0, ("23Na", "1H"), loaded_loop(), low_snr_at_least=0.9, high_snr_at_least=0.8)
        )
    with pytest.raises(ValueError, match="trimmer of a wider range"):
        design_dual_tuned(
            Request(3.0, ("23Na", "1H"), loaded_loop(), trap_coils=COILS, trimmer=(1e-12, 2e-12))
        )
    with pytest.raises(ValueError, match="different frequency"):
        Request(3.0, ("1H", "1H"), loaded_loop()).frequencies()


@pytest.mark.parametrize(
    ("nuclei", "b0", "inductance"), [(("31P", "1H"), 7.0, 150e-9), (("7Li", "1H"), 3.0, 200e-9)]
)
def test_other_nuclei_and_fields_are_designed(nuclei: tuple[str, str], b0: float, inductance: float) -> None:
    """Nothing is made for sodium at 3 T: other pairs match and every trimmer has its minimum left."""
    frequencies = tuple(nucleus(name).larmor_frequency(b0) for name in nuclei)
    loss = 2 * np.pi * np.array(frequencies) * inductance / [120, 70]
    loop = single_loop(inductance, frequencies, (float(loss[0]), float(loss[1])))
    design = design_dual_tuned(Request(b0, nuclei, loop, quality=PartQuality(frequency=frequencies[0])))
    assert all(port.reflection_db < -200 for port in design.ports)
    assert all(part.low >= 1e-12 - 1e-24 for part in design.trimmed.values())
    assert all(part.high <= 30e-12 for part in design.trimmed.values())


def test_what_stands_in_the_way_is_named_first() -> None:
    """Two nuclei 6 % apart: solutions exist, but C2 would have to be trimmed beyond any trimmer."""
    frequencies = tuple(nucleus(name).larmor_frequency(3.0) for name in ("19F", "1H"))
    loop = single_loop(250e-9, frequencies, (1.8, 2.0))
    with pytest.raises(ValueError, match=r"from these parts: Ct or C2 would need a trimmer of a wider range"):
        design_dual_tuned(Request(3.0, ("19F", "1H"), loop))


def test_geometry_gives_what_the_formulas_of_circles_give() -> None:
    """A circle above a half space: L, sample and strip resistance at both nuclei, as closed forms."""
    radius, height, strip = 0.05, 0.012, Strip(6e-3)
    body = HalfSpace(0.6)
    drawn = circle(radius, strip.wire_radius).moved((0.0, 0.0, height))
    loops = loops_from_matrices(array_matrices([drawn], body, FREQUENCIES, conductor=strip))
    closed = 4e-7 * np.pi * radius * (np.log(8 * radius / strip.wire_radius) - 2)
    assert loops.inductance[0, 0] == pytest.approx(closed, rel=2e-3)
    axis = np.array(FREQUENCIES)
    # a polygon of 180 sides for a circle: 2e-4 of its area
    expected = circle_resistance(radius, height, body, axis)
    assert loops.sample_resistance(axis)[:, 0, 0] == pytest.approx(expected, rel=2e-3)
    # the strip's resistance rises a little otherwise than the root of frequency
    copper = (loops.resistance(axis) - loops.sample_resistance(axis))[:, 0, 0]
    assert copper == pytest.approx(strip.resistance(axis) * 2 * np.pi * radius, rel=0.05)


def test_geometry_of_two_loops_on_a_sphere_is_a_passive_pair() -> None:
    """Two loops around a sphere: positive definite resistances, the matrices' own at both nuclei."""
    strip = Strip(4e-3)
    first = circle(0.04, strip.wire_radius).moved((0.0, 0.0, 0.1))
    drawn = [first, first.turned(1.2, (1.0, 0.0, 0.0))]
    matrices = array_matrices(drawn, Sphere(0.085, 0.6), FREQUENCIES[::-1], conductor=strip)
    loops = loops_from_matrices(matrices)
    axis = np.array(FREQUENCIES)
    assert loops.sample_resistance(axis[::-1]) == pytest.approx(matrices.sample, rel=1e-12)
    assert np.all(np.linalg.eigvalsh(loops.resistance(axis)) > 0)
    with pytest.raises(ValueError, match="expected one loop"):
        design_dual_tuned(Request(3.0, ("23Na", "1H"), loops))
    one = array_matrices(drawn, None, FREQUENCIES[0], conductor=strip)
    with pytest.raises(ValueError, match="two frequencies"):
        loops_from_matrices(one)


def test_the_how_to_on_designs_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """The page's code runs; its design keeps the floor asked for and its curve falls and rises."""
    page = Path(__file__).parents[2] / "docs" / "howto" / "design-a-coil.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, page.name, "exec"), {})  # noqa: S102 - that is what readers will do
    said = capsys.readouterr().out
    floor = re.search(r"SNR at 33.79 MHz: (\d\.\d\d)", said)
    assert floor is not None
    assert float(floor.group(1)) >= 0.78
    assert "trap coil 120 nH: SNR 0.80 at 23Na, 0.61 at 1H" in said
