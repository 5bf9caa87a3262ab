"""An array measured pair by pair: hands that do what is printed, analyzers of two ports over their wires."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skrf

from coilbench.array_calibration import CalibrationWish, calibrate_array
from coilbench.array_pairwise import INCOMPLETE, PAIRS, REPEATABILITY, PairwiseWish, sweep_pairwise
from coilbench.array_plans import character_plan
from coilbench.base.errors import BenchFileError, MeasurementError, RunAborted
from coilbench.base.events import Event, ignore
from coilbench.base.verdict import Verdict
from coilbench.bench_file import read_bench_file
from coilbench.coil_store import read_history
from coilbench.pairwise import ideal_loads, with_calibration
from coilbench.procedures.assemble import AssemblyPlan, assemble_by_hand
from coilbench.procedures.calibrate import CalibrationPlan, calibrate
from coilbench.procedures.operator import Answer, Request
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from coils.assembly import plan_connections
from coils.calibration import DefinitionUncertainty, Kit, ideal_kit, save_record
from drivers.analyzers import rohde_schwarz_znb
from drivers.protocols import Segment, SweepPlan, never
from hil_fixtures.instruments.cabled_device import CabledDevice
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.instruments.rs_znbt import RsZnbt
from hil_fixtures.physics.settings import WorldSettings
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Failure

    from coils.calibration import CalibrationKind
    from drivers.protocols import NetworkAnalyzer

CHANNELS = 3
PORTS = 2 * CHANNELS
CONNECTIONS = plan_connections(range(1, PORTS + 1)).connections
#: Standard deviation of a complex S-parameter near 1 of the simulated ZNBT at 1 kHz and -10 dBm: a floor of
#: -90 dBm, and 2.3e-4 of the value at 10 kHz.
NOISE = float(np.hypot(1e-4, 2.3e-4 / np.sqrt(10.0)))
#: The same of the simulated NanoVNA below 300 MHz: 70 dB of dynamic range.
HANDHELD_NOISE = 3.2e-4
#: Nobody sees a complex normal number this many standard deviations from 0: exp(-25).
NEVER = 5.0


@cache
def tuned_world() -> World:
    """Return one world for all tests: building it takes longer than measuring it."""
    return World.tuned(2, WorldSettings(channels=CHANNELS))


def bench_file(folder: Path, address: str, driver: str = "rs-znb") -> Path:
    """Write a bench file of the small array and an analyzer."""
    text = bench_file_text({**DEFAULT_ADDRESSES, "analyzer_hislip": address, "analyzer_tcp": address})
    for old, new in (
        ("channels = 8", f"channels = {CHANNELS}"),
        ("[1, 2, 3, 4, 5, 6, 7, 8]", str(list(range(1, CHANNELS + 1)))),
        ("[9, 10, 11, 12, 13, 14, 15, 16]", str(list(range(CHANNELS + 1, PORTS + 1)))),
        ("points = 201", "points = 41"),
        ('driver = "rs-znb"', f'driver = "{driver}"'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


class Patched(CabledDevice):
    """The cables on the array, or on a standard; an analyzer that is not calibrated sees them as they are.

    Parameters
    ----------
    raw
        Both cables reflect 0.1 at their near and 0.15 at their far ends, delay and lose.
    """

    def __init__(self, *, reflection: float = 0.1, raw: bool = False) -> None:
        super().__init__(tuned_world(), reflection=reflection, seed=3)
        self.raw = raw
        self.standard: np.ndarray | None = None

    def do(self, instruction: str, /) -> None:
        named = re.search(r"\b(SHORT|OPEN|LOAD|THRU)\b", instruction)
        if named is None:
            self.standard = None
            super().do(instruction)
        elif named[1] == "THRU":
            self.standard = np.array([[0, 1], [1, 0]], complex)
        else:
            port = int(re.findall(r"\d+", instruction)[-1])
            value = {"SHORT": -1.0, "OPEN": 1.0, "LOAD": 0.0}[named[1]]
            self.standard = np.diag([value if port == place else 0.0 for place in (1, 2)]).astype(complex)

    def scattering(self, frequencies: np.ndarray, /) -> np.ndarray:
        s = super().scattering(frequencies)
        if self.standard is not None:
            s = np.broadcast_to(self.standard, s.shape)
        if not self.raw:
            return np.asarray(s)
        turn = np.exp(-2j * np.pi * frequencies[:, None] * np.array([4e-9, 6e-9]))
        inner = np.linalg.solve(np.eye(2) - s * (np.array([0.15, -0.15j]) * turn)[:, None, :], s)
        seen = 0.9 * turn[:, :, None] * inner * turn[:, None, :]
        seen[:, [0, 1], [0, 1]] += 0.1 * turn
        return np.asarray(seen)


@dataclass
class Hands:
    """An operator whose hands do what is asked, except where ``wrong`` says what they do instead."""

    device: CabledDevice
    wrong: dict[int, str] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ask(self, request: Request, /) -> Answer:
        self.asked.append(request.instruction)
        answer = self.answers.get(len(self.asked), Answer.DONE)
        if answer is Answer.DONE:
            self.device.do(self.wrong.get(len(self.asked), request.instruction))
        return answer


class Typist:
    """Standard input of a person who reads standard error, moves the cables it names, and presses Enter."""

    def __init__(self, hands: Hands, read: Callable[[], str]) -> None:
        self._hands, self._read, self.seen = hands, read, ""

    def readline(self) -> str:
        new = self._read()
        self.seen += new
        self._hands.ask(Request(new.rsplit("▸", 1)[1].splitlines()[0], 1, 1))
        return "\n"


def exchanged(place: int) -> dict[int, str]:
    """Return what goes wrong when the cables of a connection (from 0) are exchanged, and right afterwards."""
    one, other = CONNECTIONS[place].ports
    after = CONNECTIONS[place + 1].ports
    return {
        place + 1: f"cable 1 to port {other}, cable 2 to port {one}",
        place + 2: f"cable 1 to port {after[0]}, cable 2 to port {after[1]}",
    }


@dataclass
class Table:
    """The array with two cables and loads, bench files of an analyzer with two ports, a folder for runs."""

    device: Patched
    path: Path
    runs: Path

    def write_loads(self, folder: Path) -> Path:
        """Write what the loads reflect, every MHz."""
        folder.mkdir()
        f = np.arange(30e6, 136e6, 1e6)
        for port, values in enumerate(self.device.loads(f).T, 1):
            load = skrf.Network(f=f, f_unit="Hz", s=values[:, None, None], z0=50.0)
            load.write_touchstone(f"load-{port}", dir=str(folder))
        return folder


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    device = Patched()
    with RsZnbt(device, port_count=2, seed=4) as few:
        path = bench_file(tmp_path, "tcp://{}:{}".format(*few.socket_address))
        yield Table(device, path, tmp_path / "runs")


@pytest.fixture
def whole() -> Iterator[str]:
    """Yield the address of an analyzer with all ports."""
    with RsZnbt(tuned_world(), port_count=PORTS, seed=5) as analyzer:
        yield "tcp://{}:{}".format(*analyzer.socket_address)


def sweep_directly(address: str, bench: Path) -> skrf.Network:
    """Return the sweep of all ports at once."""
    analyzer = rohde_schwarz_znb.open_analyzer(address, name="direct")
    try:
        analyzer.configure(character_plan(read_bench_file(bench)).sweep_plan())
        return analyzer.sweep()
    finally:
        analyzer.close()


def larmor(f: np.ndarray) -> list[int]:
    return [int(np.argmin(np.abs(f - frequency))) for frequency in tuned_world().frequencies]


def test_the_command_measures_six_ports_with_two_cables_one_of_them_once_on_the_wrong_port(
    table: Table,
    whole: str,
    tmp_path: Path,
    run_here: Callable[..., Failure],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Plan first; cables exchanged once are named and asked for anew; then equal to a sweep of all ports."""
    loads = table.write_loads(tmp_path / "loads")
    hands = Hands(table.device, exchanged(6))
    typist = Typist(hands, lambda: capsys.readouterr().err)
    monkeypatch.setattr(sys, "stdin", typist)
    words = (table.path, "--no-tuner", "--runs", table.runs, "--loads", loads, "--json")
    done = run_here("sweep", "--pairwise", *words)
    assert done.code == 0, done.text
    plan, asked = typist.seen.split("▸", 1)
    assert "15 connections of 2 cables; 16 times a cable is moved" in plan
    assert f"The 4 other ports end in the loads of {loads}" in plan
    assert "WARNING" not in plan
    assert asked.count("Enter when done, r to repeat the one before, a to end") == 16
    one, other = CONNECTIONS[6].ports
    accused = f"connection 7 (ports {one}, {other}): cables exchanged, really on ports {other}, {one}"
    assert accused in asked
    assert "1/1: check: connect cable 1" in hands.asked[-1]
    found = json.loads(done.out)
    assert found["verdict"] == "pass"
    assert found["pairwise"]["suspicions_on_the_way"] == [accused]
    assert found["pairwise"]["missing"] == found["pairwise"]["suspicions_left_out"] == []
    names = {row["name"].split(" (")[0] for row in found["judged"]}
    assert {"pairs not measured", "connections that disagree", "|Sij - Sji|", "largest gain"} < names

    folder = table.runs / found["run"]
    assert len(list((folder / PAIRS).glob("*.s2p"))) == 15
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "its reflection between them" in report
    assert accused in report
    ours = skrf.Network(str(folder / f"coil.s{PORTS}p"))
    difference = np.abs(ours.s - sweep_directly(whole, table.path).s)
    # two sweeps' noise; files of every MHz interpolated by cubics: 1e-6
    assert np.sqrt(np.mean(difference**2)) < np.sqrt(2.0) * NOISE
    assert difference.max() < NEVER * np.sqrt(2.0) * NOISE
    assert [visit.record.kind for visit in read_history(table.runs, "SIM-8-0001").visits] == ["sweep"]


def test_loads_taken_for_ideal_leave_an_error_within_what_is_stated(table: Table) -> None:
    """Loads of VSWR 1.1 that nobody measured: more than noise, and inside the stated 95 %; none accused."""
    table.device.reflection = 0.048
    notes: list[Event] = []
    hands = Hands(table.device)
    done = sweep_pairwise(table.path, table.runs, notes.append, hands, PairwiseWish(), tuner=False)
    assert any(event.kind == "note" and "WARNING: without --loads" in event.message for event in notes)
    found = json.loads((done.folder / "record.json").read_text(encoding="utf-8"))["pairwise"]
    assert found["suspicions_on_the_way"] == []
    ours = skrf.Network(str(done.folder / f"coil.s{PORTS}p"))
    at = larmor(ours.f)
    worst = float(np.abs(ours.s[at] - tuned_world().scattering(ours.f[at])).max())
    assert NEVER * NOISE < worst < found["loads_leave_linear"] < found["uncertainty_linear"] < 0.1
    assert any(f"{found['loads_leave_linear']:.2g}" in line and "--loads" in line for line in done.truths)


def test_a_pair_that_stays_wrong_is_missing_and_makes_no_record_of_the_coil(
    table: Table, tmp_path: Path
) -> None:
    """Marked in the file, the report and the verdict; everything else is there and right."""
    wrong = exchanged(6)
    hands = Hands(table.device, {**wrong, 16: wrong[7]})
    wish = PairwiseWish(table.write_loads(tmp_path / "loads"))
    done = sweep_pairwise(table.path, table.runs, ignore, hands, wish, tuner=False)
    assert done.verdict is Verdict.FAIL
    first, second = sorted(CONNECTIONS[6].ports)
    assert f"Not measured: ports {first}-{second}." in done.truths
    assert not (done.folder / "coil.json").exists()
    file = done.folder / f"{INCOMPLETE}.s{PORTS}p"
    assert f"not measured (nan): ports {first}-{second}" in file.read_text(encoding="utf-8")
    ours = skrf.Network(str(file))
    absent = np.zeros((PORTS, PORTS), bool)
    absent[[first - 1, second - 1], [second - 1, first - 1]] = True
    assert np.isnan(ours.s[:, absent]).all()
    error = np.abs(ours.s - tuned_world().scattering(ours.f))[:, ~absent]
    found = json.loads((done.folder / "record.json").read_text(encoding="utf-8"))["pairwise"]
    assert error[larmor(ours.f)].max() < found["uncertainty_linear"] < np.inf
    assert "Pairs that are not measured" in done.report.read_text(encoding="utf-8")


def test_a_connection_can_be_repeated_and_an_abort_keeps_what_was_measured(table: Table) -> None:
    hands = Hands(table.device, answers={4: Answer.REPEAT, 8: Answer.ABORT})
    with pytest.raises(RunAborted, match="ended by the operator") as stopped:
        sweep_pairwise(table.path, table.runs, ignore, hands, PairwiseWish(), tuner=False)
    assert hands.asked[4] == hands.asked[2]
    (folder,) = table.runs.iterdir()
    assert str(folder / PAIRS) in stopped.value.__notes__[0]
    # 1 2 3 done, 4 answered by repeat, 3 4 5 done, 6 answered by abort
    names = {f"{'-'.join(map(str, each.ports))}.s2p" for each in CONNECTIONS[:5]}
    assert {path.name for path in (folder / PAIRS).iterdir()} == names
    assert not (folder / "record.json").exists()


def calibrated(analyzer: NetworkAnalyzer, table: Table, kind: CalibrationKind, folder: Path) -> Path:
    """Calibrate the cables' ends with ideal standards known to 0.002, and keep that."""
    kit = ideal_kit()
    known = {name: DefinitionUncertainty(0.002) for name in kit.standards}
    plan = character_plan(read_bench_file(table.path)).sweep_plan()
    wanted = CalibrationPlan(kind, (1, 2), Kit(kit.name, kit.standards, known), plan, 295.0)
    save_record(calibrate(analyzer, wanted, Hands(table.device)), folder)
    return folder


def test_a_handheld_analyzer_that_is_calibrated_here_connects_every_pair_both_ways(
    table: Table, tmp_path: Path
) -> None:
    """A NanoVNA, which drives one port, behind cables that reflect: 30 connections, the same array."""
    loads = table.write_loads(tmp_path / "loads")
    table.device.raw = True
    with NanoVnaH(table.device, seed=6, kind="socket") as vna:
        path = bench_file(tmp_path, vna.address, "nanovna-h")
        wanted = CalibrationWish("one-path", None, 0.002, 295.0, pairwise=True)
        made = calibrate_array(path, table.runs, ignore, Hands(table.device), wanted)
        assert "coilbench sweep --pairwise --calibration" in made.truths[1]
        calibration = made.folder / "calibration"
        hands = Hands(table.device)
        wish = PairwiseWish(loads, calibration=calibration, temperature=295.2)
        done = sweep_pairwise(path, table.runs, ignore, hands, wish, tuner=False)
    assert len(hands.asked) == PORTS * (PORTS - 1)
    assert done.verdict is Verdict.PASS
    ours = skrf.Network(str(done.folder / f"coil.s{PORTS}p"))
    difference = np.abs(ours.s - tuned_world().scattering(ours.f))
    # noise of the device's sweeps and of the standards', through ways of 0.9 and mismatches of 0.15
    assert np.sqrt(np.mean(difference**2)) < 3.0 * HANDHELD_NOISE
    (visit,) = read_history(table.runs, "SIM-8-0001").visits
    assert visit.record.calibration is not None
    assert visit.record.calibration.kind == "one-path"
    assert difference[larmor(ours.f)].max() < visit.record.s_uncertainty < 0.05


def test_a_calibration_corrects_both_cables_and_a_wrong_or_cold_one_is_refused(
    table: Table, tmp_path: Path
) -> None:
    """Raw reflections are wrong by 0.1; corrected ones by noise. Ports, kind and temperature must fit."""
    host = re.search(r"tcp://\S+:\d+", table.path.read_text(encoding="utf-8"))
    assert host is not None
    plan = character_plan(read_bench_file(table.path)).sweep_plan()
    table.device.raw = True
    analyzer = rohde_schwarz_znb.open_analyzer(host[0].rstrip('"'), name="vna")
    try:
        folder = calibrated(analyzer, table, "solt", tmp_path / "calibration")

        def corrections(cables: tuple[int, ...], temperature: float | None, kept: Path = folder):
            return with_calibration(
                analyzer,
                kept,
                plan,
                tuned_world().frequencies,
                cables=cables,
                temperature=temperature,
                least=0.005,
                abort=never,
            )

        ready = corrections((1, 2), 295.1)
        table.device.do("cable 1 to port 2, cable 2 to port 5")
        swept = analyzer.sweep((1, 2))
        ours = ready.whole((2, 5), np.asarray(swept.f), np.asarray(swept.s))
        table.device.raw = False
        truth = table.device.scattering(np.asarray(swept.f))
        assert np.abs(swept.s - truth).max() > 0.05
        error = np.abs(ours - truth)
        assert np.sqrt(np.mean(error**2)) < 3.0 * NOISE
        assert error[larmor(swept.f)].max() < ready.leaves() < 0.02
        with pytest.raises(MeasurementError, match="temperature now is not known"):
            corrections((1, 2), None)
        with pytest.raises(BenchFileError, match=r"ports 1, 2; connected are ports 1, 2, 3"):
            corrections((1, 2, 3), 295.1)
        reflections = calibrated(analyzer, table, "sol", tmp_path / "reflections")
        with pytest.raises(BenchFileError, match="is a sol calibration; this analyzer's pairs take solt"):
            corrections((1, 2), 295.1, reflections)
    finally:
        analyzer.close()


def test_it_says_where_it_is_not_needed_and_where_it_is(
    table: Table, whole: str, tmp_path: Path, run_here: Callable[..., Failure]
) -> None:
    words = ("--no-tuner", "--runs", table.runs)
    plain = run_here("sweep", table.path, *words)
    assert plain.code == 3
    assert "has 2 ports; `coilbench sweep --pairwise` measures pair by pair" in plain.text
    loads = table.write_loads(tmp_path / "loads")
    (loads / "load-2.s1p").unlink()
    (loads / "load-5.s1p").write_text("! open\n# Hz S RI R 50\n1e6 1 0\n2e8 1 0\n", encoding="ascii")
    lacking = run_here("sweep", "--pairwise", table.path, "--loads", loads, *words)
    assert lacking.code == 3
    assert re.search(r"load-2\.s1p \(.*load-5\.s1p \(", lacking.text)
    assert run_here("sweep", table.path, "--loads", loads, *words).lines == [
        "--loads and --repeatability belong to --pairwise"
    ]
    (tmp_path / "direct").mkdir()
    direct = run_here("sweep", "--pairwise", bench_file(tmp_path / "direct", whole), *words)
    assert direct.code == 3
    assert f"has all {PORTS} ports: leave out --pairwise" in direct.text
    with table.path.open("a", encoding="utf-8") as file:
        file.write(
            '\n[instruments.switch]\ndriver = "rs-osp"\naddress = "tcp://127.0.0.1:9"\n'
            'parked = "F01M01(0001)"\nfiles = "switch"\n'
            '[instruments.switch.routes]\n"1-1" = "F01M01(0101)"\n'
        )
    with pytest.raises(BenchFileError, match=r"\[instruments.switch\] already connects every pair"):
        sweep_pairwise(table.path, table.runs, ignore, Hands(table.device), PairwiseWish())


class Strong:
    """A passive reciprocal device whose ports are coupled at random, the same at all frequencies."""

    def __init__(self, ports: int, rng: np.random.Generator) -> None:
        self.port_count = ports
        real, imaginary = rng.standard_normal((2, ports, ports))
        s = real + real.T + 1j * (imaginary + imaginary.T)
        self.s = 0.9 * s / np.linalg.norm(s, ord=2)

    def rf_output(self, source: str, on: bool, /) -> None:
        """Notice nothing."""

    def scattering(self, f: np.ndarray, /) -> np.ndarray:
        return np.broadcast_to(self.s, (f.size, *self.s.shape)).copy()


class Exact:
    """An analyzer without noise on the cables of a device."""

    name = identity = "exact"
    port_count = 2
    reflection_ports = (1, 2)

    def __init__(self, device: CabledDevice) -> None:
        self._device = device

    def configure(self, plan: SweepPlan, /) -> SweepPlan:
        return plan

    def sweep(self, ports: object = None, /, *, abort: object = None) -> skrf.Network:
        del ports, abort
        f = np.linspace(33e6, 34e6, 9)
        return skrf.Network(f=f, f_unit="Hz", s=self._device.scattering(f), z0=50.0)

    def make_safe(self) -> None:
        """Nothing to switch off."""

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("seed", range(12))
def test_loads_that_are_not_as_said_accuse_no_cable_and_err_within_what_they_may(seed: int) -> None:
    """However strong the coupling: three to eight ports, loads of VSWR 1.1 taken for ideal, no noise."""
    rng = np.random.default_rng(seed)
    truth = Strong(int(rng.integers(3, 9)), rng)
    device = CabledDevice(truth, reflection=0.048, seed=seed)
    loads = ideal_loads(range(1, truth.port_count + 1))
    plan = AssemblyPlan(
        tuple(range(1, truth.port_count + 1)),
        SweepPlan((Segment(33e6, 34e6, 9),)),
        loads.reflections,
        REPEATABILITY,
        load_uncertainty=loads.uncertainty,
    )
    events: list[Event] = []
    found = assemble_by_hand(Exact(device), Hands(device), plan, emit=events.append)
    assert "assemble.suspicious" not in {event.kind for event in events}
    assert not found.missing
    error = np.abs(found.assembly.s - truth.s).max()
    assert 0.0 < error < 2.0 * np.max(found.assembly.uncertainty(0.0, loads.uncertainty))
