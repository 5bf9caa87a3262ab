"""Calibration: solutions on a simulated analyzer, error budgets against trials, records."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from coilbench.base.errors import MeasurementError, StorageError
from coilbench.base.verdict import Verdict
from coils.calibration import (
    CalibrationRecord,
    DefinitionUncertainty,
    Kit,
    MeasuredStandard,
    OffsetStandard,
    ThruStandard,
    calibration_steps,
    correct_one_path,
    deembed,
    embed,
    extend_ports,
    ideal_kit,
    load_record,
    measure_drift,
    save_record,
    solve_correction,
    verify,
)
from coils.calibration.budget import COVERAGE, record_budget, reflection_residuals

F = np.linspace(20e6, 300e6, 13)
NOON = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)

#: A kit as on the card of an Agilent 85033E (3.5 mm): coefficients in SI units.
CARD = {
    "short": OffsetStandard(
        "short", 31.785e-12, 2.36e9, 49.992, (2.0765e-12, -108.54e-24, 2.1705e-33, -0.01e-42)
    ),
    "open": OffsetStandard(
        "open", 29.243e-12, 2.2e9, 50.0, (49.433e-15, -310.13e-27, 23.168e-36, -0.15966e-45)
    ),
    "load": OffsetStandard("load"),
    "thru": ThruStandard(40e-12, 2e9, 50.5),
    "reflect": OffsetStandard("short"),
    "line": ThruStandard(1.45e-9),
}


class Analyzer:
    """A reciprocal two-port between each port of an ideal receiver and its plane: the eight-term error model.

    With ``switching`` the load of a port depends on which port drives (the twelve-term model).
    """

    def __init__(self, ports, seed=1, *, switching=0.0, noise=0.0, f=F):
        rng = np.random.default_rng(seed)
        self.rng, self.noise, self.f = rng, noise, f
        t = (f - F[0]) / (F[-1] - F[0])
        self.boxes = np.empty((ports, f.size, 2, 2), complex)
        for port in range(ports):
            a, b, c, d = rng.uniform(0.5, 2.0, 4)
            self.boxes[port, :, 0, 0] = 0.08 * np.exp(2j * np.pi * (a + b * t))
            self.boxes[port, :, 1, 1] = 0.12 * np.exp(-2j * np.pi * (c + 2 * d * t))
            self.boxes[port, :, 0, 1] = self.boxes[port, :, 1, 0] = (0.9 - 0.1 * t) * np.exp(
                -2j * np.pi * a * t
            )
        self.load = switching * np.exp(2j * np.pi * rng.random(ports))

    def measure(self, s, ports):
        """Return raw S of a device on some ports (from 1); a driven wave meets the other ports' loads."""
        seen = embed(np.asarray(s, complex), self.boxes[[port - 1 for port in ports]])
        out = np.empty_like(seen)
        for source in range(len(ports)):
            # a_i = δ_i,source + Γ_i b_i for the undriven ports
            gamma = self.load[[port - 1 for port in ports]].copy()
            gamma[source] = 0.0
            out[:, :, source] = np.linalg.solve(np.eye(len(ports)) - seen * gamma, seen[:, :, source, None])[
                ..., 0
            ]
        if self.noise:
            size = (2, *out.shape)
            real, imag = self.noise / np.sqrt(2) * self.rng.standard_normal(size)
            out = out + real + 1j * imag
        return out


def record_of(kind, ports, analyzer, kit, truth=None):
    """Return the record of a calibration; ``truth`` are the standards as they really are."""
    real = truth or kit
    raw = {
        step.name: analyzer.measure(real.standard(step.standard).scattering(analyzer.f), step.ports)
        for step in calibration_steps(kind, ports)
    }
    return CalibrationRecord(
        kind, ports, analyzer.f, raw, kit, NOON, 295.0, "vna,1", {"power_dbm": -10.0}, "MK"
    )


def device(ports, seed=7, f=F):
    rng = np.random.default_rng(seed)
    t = ((f - F[0]) / (F[-1] - F[0]))[:, None, None]
    a, b = rng.standard_normal((2, ports, ports)), rng.standard_normal((2, ports, ports))
    s = a[0] + 1j * a[1] + (b[0] + 1j * b[1]) * np.exp(-2j * np.pi * t)
    return 0.9 * s / np.linalg.norm(s, ord=2, axis=(-2, -1)).max()


# -- standards --------------------------------------------------------------------------------------


def test_offset_standards_are_lines_with_something_behind_them():
    """The card's model equals scikit-rf's lossy line from a characteristic impedance, ended by L, C or R."""
    from skrf.frequency import Frequency
    from skrf.media import DefinedGammaZ0

    axis = Frequency.from_f(F, unit="Hz")
    for name in ("short", "open"):
        standard = CARD[name]
        w = 2 * np.pi * F
        skin = standard.offset_loss * np.sqrt(F / 1e9)
        z = standard.offset_impedance + (1 - 1j) * skin / (2 * w)
        gamma = (
            skin * standard.offset_delay / (2 * standard.offset_impedance) * (1 + 1j)
            + 1j * w * standard.offset_delay
        )
        media = DefinedGammaZ0(axis, z0=z, gamma=gamma, z0_port=50)
        stray = np.polynomial.polynomial.polyval(F, standard.polynomial)
        end = 1j * w * stray if name == "short" else 1 / (1j * w * stray)
        line = media.line(1, "m").s
        load = (end - 50) / (end + 50)
        expected = line[:, 0, 0] + line[:, 0, 1] * line[:, 1, 0] * load / (1 - line[:, 1, 1] * load)
        np.testing.assert_allclose(standard.scattering(F)[:, 0, 0], expected, atol=1e-12)
    thru = CARD["thru"]
    skin = thru.offset_loss * np.sqrt(F / 1e9)
    z = thru.offset_impedance + (1 - 1j) * skin / (4 * np.pi * F)
    gamma = (
        skin * thru.offset_delay / (2 * thru.offset_impedance) * (1 + 1j) + 2j * np.pi * F * thru.offset_delay
    )
    line = DefinedGammaZ0(axis, z0=z, gamma=gamma, z0_port=50).line(1, "m").s
    np.testing.assert_allclose(thru.scattering(F), line, atol=1e-12)


def test_ideal_standards_and_a_resistive_load():
    """Short -1, open +1, load 0; 51 Ω in series with 1 nH."""
    kit = ideal_kit()
    for name, value in (("short", -1.0), ("open", 1.0), ("load", 0.0)):
        np.testing.assert_allclose(kit.standard(name).scattering(F), value, atol=1e-15)
    z = 51.0 + 2j * np.pi * F * 1e-9
    given = OffsetStandard("load", polynomial=(1e-9,), resistance=51.0).scattering(F)[:, 0, 0]
    np.testing.assert_allclose(given, (z - 50) / (z + 50), atol=1e-15)


def test_measured_standards_are_interpolated_and_not_extrapolated():
    """A cubic through a smooth standard is right to the fourth power of its phase step."""
    fine = np.linspace(10e6, 310e6, 61)
    standard = MeasuredStandard(fine, CARD["open"].scattering(fine))
    np.testing.assert_allclose(standard.scattering(F), CARD["open"].scattering(F), atol=1e-9)
    with pytest.raises(ValueError, match="known from"):
        standard.scattering(np.array([5e6]))


def test_kits_say_what_they_lack():
    """An unknown standard or an uncertainty of nothing is refused with the list of what there is."""
    with pytest.raises(ValueError, match=r"no line; it has short, open"):
        ideal_kit().standard("line")
    with pytest.raises(ValueError, match="no standard sliding"):
        Kit("k", {"short": CARD["short"]}, {"sliding": DefinitionUncertainty()})


# -- corrections ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "ports", "switching"),
    [("sol", (1, 3), 0.0), ("solt", (1, 2), 0.1), ("solt", (2, 1, 3, 4), 0.1), ("unknown-thru", (1, 2), 0.0),
     ("unknown-thru", (1, 2, 3), 0.0), ("trl", (1, 2), 0.0)],
)  # fmt: skip
def test_every_kind_corrects_a_random_device_exactly(kind, ports, switching):
    """The plane is where the kit's definitions put it; errors of 0.1 are gone to rounding."""
    # a line is good for frequencies of 8 to 1 at most
    f = F[F > 40e6] if kind == "trl" else F
    analyzer = Analyzer(4, switching=switching, f=f)
    kit = Kit("card", CARD)
    truth = kit
    if kind == "unknown-thru":  # a thru that is longer and more lossy than its definition says
        truth = Kit("real", {**CARD, "thru": ThruStandard(75e-12, 9e9, 47.0)})
    if kind == "trl":
        kit = truth = Kit("line", {**CARD, "thru": ThruStandard()})
    correction = record_of(kind, ports, analyzer, kit, truth).solve()
    s = device(len(ports), f=f)
    raw = analyzer.measure(s, ports)
    if kind == "sol":
        s = np.einsum("fi,ij->fij", np.einsum("fii->fi", s), np.eye(len(ports)))
        raw = analyzer.measure(s, ports)
        corrected = np.nan_to_num(correction.correct(raw))
        assert np.isnan(correction.correct(raw)[0, 0, 1])
    else:
        corrected = correction.correct(raw)
    assert np.abs(raw - s).max() > 0.1
    np.testing.assert_allclose(corrected, s, atol=1e-10)


def test_an_analyzer_that_measures_forward_only_is_corrected_from_both_directions():
    """Two sweeps with the device turned round give all of S; the column never driven is not used."""
    analyzer = Analyzer(2, switching=0.15)
    record = record_of("one-path", (1, 2), analyzer, Kit("card", CARD))
    record = replace(
        record,
        raw={
            name: raw
            if raw.shape[-1] == 1
            else np.stack([raw[:, :, 0], np.full_like(raw[:, :, 1], np.nan)], -1)
            for name, raw in record.raw.items()
        },
    )
    s = device(2)
    forward = analyzer.measure(s, (1, 2))[:, :, 0]
    reverse = analyzer.measure(s[:, ::-1, ::-1], (1, 2))[:, :, 0]
    correction = record.solve()
    np.testing.assert_allclose(correct_one_path(correction, forward, reverse), s, atol=1e-10)
    with pytest.raises(ValueError, match="both directions"):
        correction.correct(np.zeros((F.size, 2, 2), complex))
    with pytest.raises(ValueError, match="expected shape"):
        correct_one_path(correction, forward[:-1], reverse)
    with pytest.raises(ValueError, match="one-path"):
        correct_one_path(record_of("sol", (1,), analyzer, ideal_kit()).solve(), forward, reverse)


def test_a_line_of_half_a_wave_is_refused():
    """Where line and thru differ by a sign only, TRL determines nothing; the frequencies are told."""
    f = np.linspace(50e6, 500e6, 10)
    kit = Kit("line", {**CARD, "thru": ThruStandard()})
    with pytest.raises(MeasurementError, match=r"at 1 of 10 frequencies \(3.5e\+08 Hz"):
        # 1.45 ns: 160 degrees at 307 MHz, 200 at 383 MHz
        record_of("trl", (1, 2), Analyzer(2, f=f), kit).solve()


def test_one_standard_connected_twice_is_noticed():
    """The operator who leaves SHORT on when asked for OPEN is told, by name of both sweeps."""
    record = record_of("sol", (1, 2), Analyzer(2), Kit("card", CARD))
    with pytest.raises(MeasurementError, match="short-2 and open-2 are the same"):
        replace(record, raw={**record.raw, "open-2": record.raw["short-2"] * 1.001}).solve()
    broken = record.raw["load-1"].copy()
    broken[3] = np.nan
    with pytest.raises(MeasurementError, match="load-1"):
        replace(record, raw={**record.raw, "load-1": broken}).solve()
    with pytest.raises(ValueError, match="raw sweep short-1"):
        solve_correction("sol", (1,), F[:-1], record.raw, record.kit)
    with pytest.raises(ValueError, match="shape"):
        record.solve().correct(np.zeros((F.size, 3, 3), complex))


@pytest.mark.parametrize(
    ("kind", "ports", "text"),
    [("tosm", (1, 2), "calibrations are"), ("trl", (1, 2, 3), "two ports"), ("solt", (1,), "two or more"),
     ("sol", (), "different ports"), ("sol", (0,), "different ports"), ("solt", (2, 2), "different ports")],
)  # fmt: skip
def test_impossible_calibrations_are_refused(kind, ports, text):
    """The message says what there is."""
    with pytest.raises(ValueError, match=text):
        calibration_steps(kind, ports)


def test_steps_ask_for_each_standard_once_and_finish_a_port_before_the_next():
    """Four ports need twelve reflections and three thrus from the first."""
    steps = calibration_steps("solt", (2, 1, 3, 4))
    assert [step.name for step in steps[:4]] == ["short-2", "open-2", "load-2", "short-1"]
    assert [step.name for step in steps[12:]] == ["thru-2-1", "thru-2-3", "thru-2-4"]
    assert steps[0].instruction == "connect SHORT to port 2"
    assert steps[-1].instruction == "connect THRU between ports 2 and 4"


# -- reference planes -------------------------------------------------------------------------------


def test_fixtures_are_put_on_as_scikit_rf_cascades_them_and_taken_away_again():
    """Embedding equals scikit-rf's ** port by port; de-embedding undoes it."""
    from skrf.network import Network, connect

    analyzer, s = Analyzer(3, seed=4), device(3)
    seen = embed(s, analyzer.boxes)
    network = Network(f=F, f_unit="Hz", s=s, z0=50)
    for port in range(3):
        box = Network(f=F, f_unit="Hz", s=analyzer.boxes[port], z0=50)
        network = connect(box, 1, network, 0)  # the box's port 1 becomes the first port
        network.renumber([0, 1, 2], [2, 0, 1])
    np.testing.assert_allclose(seen, network.s, atol=1e-12)
    np.testing.assert_allclose(deembed(seen, analyzer.boxes), s, atol=1e-12)
    with pytest.raises(ValueError, match="one two-port for each port"):
        embed(s, analyzer.boxes[:2])
    with pytest.raises(ValueError, match="without transmission"):
        deembed(s, analyzer.boxes * np.array([[1, 0], [1, 1]]))


def test_port_extension_takes_away_matched_lines():
    """Delay and loss (dB at 1 GHz, growing with √f) of a cable on each port."""
    s, delays, losses = device(3), (0.31e-9, -0.1e-9, 1.2e-9), (0.5, 0.0, 1.1)
    lines = np.zeros((3, F.size, 2, 2), complex)
    for port in range(3):
        gain = 10 ** (-np.sqrt(F / 1e9) * losses[port] / 20)
        lines[port, :, 0, 1] = lines[port, :, 1, 0] = gain * np.exp(-2j * np.pi * F * delays[port])
    np.testing.assert_allclose(extend_ports(embed(s, lines), F, delays, losses), s, atol=1e-13)
    with pytest.raises(ValueError, match="3 delays"):
        extend_ports(s, F, (0.0, 0.0))


# -- error budget -----------------------------------------------------------------------------------

UNCERTAIN = {
    "short": DefinitionUncertainty(0.004, delay=0.8e-12),
    "open": DefinitionUncertainty(reflection_per_hertz=4e-11),
    "load": DefinitionUncertainty(0.003, 1e-11),
    "thru": DefinitionUncertainty(0.005, delay=3e-12),
}


#: Frequencies so close to each other that nothing changes between them: each is one trial.
TRIALS = np.linspace(120e6, 121e6, 500)


class RealStandard:
    """A standard that differs from its definition by a new draw from its uncertainty at every frequency."""

    def __init__(self, rng, standard, uncertainty):
        self.s = standard.scattering(TRIALS).copy()
        if uncertainty is not None:
            turn = np.exp(-2j * np.pi * TRIALS * uncertainty.delay * rng.standard_normal(TRIALS.size))
            self.s *= (turn**2 if self.s.shape[-1] == 1 else turn)[:, None, None]
            for port in range(self.s.shape[-1]):
                draw = rng.standard_normal((TRIALS.size, 2)) @ [1, 1j] / np.sqrt(2 * self.s.shape[-1])
                self.s[:, port, port] += uncertainty.of_reflection(TRIALS) * draw

    def scattering(self, _frequencies):
        return self.s


@pytest.mark.parametrize(("kind", "ports"), [("sol", (1,)), ("solt", (1, 2)), ("unknown-thru", (1, 2))])
def test_the_error_budget_is_what_random_kits_do(kind, ports):
    """Standard uncertainty against 500 kits, each the same at every port; 95 % lie in the stated circle."""
    rng = np.random.default_rng(3)
    kit = Kit("card", CARD, {n: u for n, u in UNCERTAIN.items() if kind != "sol" or n != "thru"})
    analyzer = Analyzer(2, switching=0.0 if kind == "unknown-thru" else 0.08, f=TRIALS)
    s = device(len(ports), f=TRIALS)
    raw = analyzer.measure(s, ports)
    real = Kit("real", {n: RealStandard(rng, d, kit.uncertainties.get(n)) for n, d in kit.standards.items()})
    error = np.abs(record_of(kind, ports, analyzer, kit, real).solve().correct(raw) - s)
    budget = record_budget(record_of(kind, ports, analyzer, kit), raw)
    ratio = np.sqrt(np.mean((error / budget.standard) ** 2, axis=0))
    # a root mean square of 500 complex errors scatters by 1/√2000, or √2 times that for real ones (delays);
    # trials make the calibration wrong, the budget the definitions: second order, 2 %
    assert np.abs(ratio - 1.0).max() < 5.0 * np.sqrt(2 / 2000) + 0.02
    # one-dimensional delays put a little more into the tails
    assert np.mean(error <= budget.expanded) == pytest.approx(0.95, abs=0.03)
    assert pytest.approx(np.sqrt(-np.log(0.05)), rel=1e-4) == COVERAGE


def test_noise_and_connections_enter_the_budget():
    """Each connection is its own; noise of the standards' sweeps and of the device's is carried on."""
    rng = np.random.default_rng(5)
    ports, noise, connection, kit = (1, 2), 2e-3, 3e-3, Kit("card", CARD)
    quiet, loud = (Analyzer(2, switching=0.08, noise=n, f=TRIALS) for n in (0.0, noise))
    s = device(2, f=TRIALS)
    raw = quiet.measure(s, ports)
    sweeps = {}
    for step in calibration_steps("solt", ports):
        real = kit.standard(step.standard).scattering(TRIALS).copy()
        for port in range(len(step.ports)):
            real[:, port, port] += connection * (rng.standard_normal((TRIALS.size, 2)) @ [1, 1j]) / np.sqrt(2)
        sweeps[step.name] = loud.measure(real, step.ports)
    record = record_of("solt", ports, quiet, kit)
    error = np.abs(replace(record, raw=sweeps).solve().correct(loud.measure(s, ports)) - s)
    budget = record_budget(record, raw, noise=noise, connection=connection)
    assert set(budget.contributions) == {"connections", "noise", "reading"}
    ratio = np.sqrt(np.mean((error / budget.standard) ** 2, axis=0))
    assert np.abs(ratio - 1.0).max() < 5.0 / np.sqrt(2000) + 0.02
    assert np.mean(error <= budget.expanded) == pytest.approx(0.95, abs=0.03)
    assert budget.with_part("drift", budget.standard).standard == pytest.approx(np.sqrt(2) * budget.standard)


def test_residual_directivity_is_the_loads_uncertainty():
    """With ideal short, open and load: δ = u(load), τ and μ follow from Lagrange's weights in closed form."""
    kit = Kit(
        "k", ideal_kit().standards, {"load": DefinitionUncertainty(0.01), "open": DefinitionUncertainty(0.02)}
    )
    residuals = reflection_residuals(record_of("sol", (1,), Analyzer(1), kit), 1)
    np.testing.assert_allclose(residuals.directivity, 0.01)
    # open: (Γ² + Γ)/2; load: 1 - Γ²
    np.testing.assert_allclose(residuals.tracking, 0.01)
    np.testing.assert_allclose(residuals.source_match, np.hypot(0.01, 0.01))
    with pytest.raises(ValueError, match="port 2"):
        reflection_residuals(record_of("sol", (1,), Analyzer(1), kit), 2)


# -- the record -------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_written(tmp_path):
    """Touchstone and JSON give every number, name and standard back; the solution is the same to the bit."""
    fine = np.linspace(10e6, 310e6, 31)
    kit = Kit(
        "mixed",
        {**CARD, "load": MeasuredStandard(fine, CARD["load"].scattering(fine) + 0.01j)},
        UNCERTAIN,
    )
    record = record_of("solt", (1, 2), Analyzer(2, noise=1e-4), kit)
    save_record(record, tmp_path / "2024-05-06")
    again = load_record(tmp_path / "2024-05-06")
    for name in ("kind", "ports", "created", "temperature", "instrument", "operator"):
        assert getattr(again, name) == getattr(record, name)
    assert dict(again.settings) == dict(record.settings)
    assert again.kit.uncertainties == record.kit.uncertainties
    assert again.kit.standards["short"] == CARD["short"]
    raw = Analyzer(2).measure(device(2), (1, 2))
    np.testing.assert_array_equal(again.solve().correct(raw), record.solve().correct(raw))
    with pytest.raises(StorageError, match="never overwritten"):
        save_record(record, tmp_path / "2024-05-06")
    assert [path.name for path in tmp_path.iterdir()] == ["2024-05-06"]


@pytest.mark.parametrize("damage", ["change", "remove", "newer", "text", "kind"])
def test_a_damaged_record_is_refused(tmp_path, damage):
    """A changed raw sweep, a missing one, a newer version, or no JSON."""
    folder = tmp_path / "c"
    save_record(record_of("sol", (1,), Analyzer(1), ideal_kit()), folder)
    index = json.loads((folder / "calibration.json").read_text())
    sweep = folder / "raw" / "open-1.s1p"
    if damage == "change":
        sweep.write_text(sweep.read_text().replace("1", "2", 1))
    elif damage == "remove":
        sweep.unlink()
    elif damage == "newer":
        (folder / "calibration.json").write_text(json.dumps(index | {"version": 99}))
    elif damage == "kind":
        (folder / "calibration.json").write_text(json.dumps(index | {"kind": "magic"}))
    else:
        (folder / "calibration.json").write_text("{")
    with pytest.raises(MeasurementError, match="c"):
        load_record(folder)


def test_a_record_needs_all_its_sweeps_and_a_time_zone():
    """Half a calibration is none."""
    record = record_of("sol", (1,), Analyzer(1), ideal_kit())
    with pytest.raises(ValueError, match="needs load-1"):
        replace(record, raw={name: s for name, s in record.raw.items() if name != "load-1"})
    with pytest.raises(ValueError, match="time zone"):
        replace(record, created=NOON.replace(tzinfo=None))


# -- verification and drift -------------------------------------------------------------------------


def test_a_check_standard_within_its_uncertainty_passes_and_a_wrong_kit_fails():
    """A 25 ohm check (Γ = -1/3) verifies a good calibration and unmasks a load of 53 ohm taken for 50."""
    analyzer, check = Analyzer(1), np.full((F.size, 1, 1), -1 / 3 + 0j)
    good = record_of("sol", (1,), analyzer, Kit("card", CARD))
    real = Kit("bad load", {**CARD, "load": OffsetStandard("load", resistance=53.0)})
    bad = record_of("sol", (1,), analyzer, Kit("card", CARD), real)
    raw = analyzer.measure(check, (1,))
    budget = record_budget(replace(good, kit=Kit("card", CARD, {"load": DefinitionUncertainty(0.003)})), raw)
    verdicts = [
        verify(
            "25 ohm", record.solve().correct(raw), check,
            uncertainty=budget.expanded, definition_uncertainty=0.004,
        ).judged.verdict
        for record in (good, bad)
    ]  # fmt: skip
    assert verdicts == [Verdict.PASS, Verdict.FAIL]
    with pytest.raises(ValueError, match="nothing to compare"):
        verify("25 ohm", check, check, uncertainty=0.0, definition_uncertainty=0.0)
    with pytest.raises(ValueError, match="do not fit"):
        verify("25 ohm", check, check[:, 0], uncertainty=0.1, definition_uncertainty=0.0)


def test_drift_is_seen_at_the_reference_plane():
    """A load that now reads 0.02 more has drifted by 0.02, whatever the analyzer's own errors."""
    analyzer = Analyzer(2)
    record = record_of("solt", (1, 2), analyzer, Kit("card", CARD))
    moved = CARD["load"].scattering(F) + 0.02j
    drift = measure_drift(record, "load-2", analyzer.measure(moved, (2,)))
    np.testing.assert_allclose(drift, 0.02, atol=1e-10)
    np.testing.assert_allclose(measure_drift(record, "load-2", record.raw["load-2"]), 0.0, atol=1e-15)
    with pytest.raises(ValueError, match="short-1"):
        measure_drift(record, "thru-1-2", record.raw["thru-1-2"])
    with pytest.raises(ValueError, match="shape"):
        measure_drift(record, "load-1", record.raw["load-1"][1:])
    trl = record_of("trl", (1, 2), Analyzer(2, f=F[F > 40e6]), Kit("line", {**CARD, "thru": ThruStandard()}))
    assert measure_drift(trl, "reflect-1", trl.raw["reflect-1"] + 0.01)[0] == pytest.approx(0.01)
