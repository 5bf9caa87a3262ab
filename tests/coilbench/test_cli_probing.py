"""The commands that need hands, on the simulated bench with probes and an operator; and `design`."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coilbench.array_probing import judge_depths
from coilbench.asking import ask_address, ask_person
from coilbench.base.errors import BenchFileError, ConnectionFailed, RunAborted
from coilbench.base.events import ignore
from coilbench.base.verdict import Verdict
from coilbench.coil_store import read_history
from coilbench.procedures.tune import NucleusPorts
from coilbench.simulated_bench import bench_file_text
from coils.decoupling.measures import Decibels
from hil_fixtures.instruments.lab import Lab
from hil_fixtures.physics.probe_stand import StandSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Failure

INF = float("inf")


@pytest.fixture
def probed(tmp_path: Path) -> Iterator[tuple[Lab, tuple[object, ...]]]:
    """Yield a tuned bench with probes and an operator, and the words that lead to it."""
    with Lab(seed=3, tuned=True, probes=StandSettings()) as lab:
        path = tmp_path / "bench.toml"
        path.write_text(bench_file_text(lab.addresses), encoding="utf-8")
        probes = ",".join(map(str, lab.addresses["probe_ports"]))
        words = (path, "--runs", tmp_path / "runs", "--probes", probes)
        yield lab, (*words, "--operator", lab.addresses["operator"])


def record(done: Failure) -> dict[str, Any]:
    return dict(json.loads(done.out))


def test_detuning_of_one_channel_is_measured_and_the_others_leave_no_verdict(
    probed: tuple[Lab, tuple[object, ...]],
    run_here: Callable[..., Failure],
    tmp_path: Path,
) -> None:
    lab, words = probed
    done = run_here("detune", *words, "--channel", "2", "--no-switching", "--json")
    assert done.code == 2, done.text
    found = record(done)
    assert [row["channel"] for row in found["detuning"]["channels"]] == [2, 2]
    assert all("ch 1, 3, 4, 5, 6, 7, 8 not measured" in row["name"] for row in found["judged"])
    (visit,) = read_history(tmp_path / "runs", "SIM-8-0001").visits
    for nucleus, row in zip(visit.record.nuclei, found["detuning"]["channels"], strict=True):
        assert nucleus.detuning_db is not None
        assert [reading is None for reading in nucleus.detuning_db] == [True, False, *[True] * 6]
        assert nucleus.detuning_db[1] is not None
        assert nucleus.detuning_db[1].value == pytest.approx(row["depth"]["value_db"])
    assert lab.operator.heard[-1].startswith("Hold the probes over") or "Put the phantom" in "".join(
        lab.operator.heard
    )
    assert not any(lab.state["bias"])


def test_coupling_is_ranked_and_the_preamplifier_of_one_channel_measured(
    probed: tuple[Lab, tuple[object, ...]],
    run_here: Callable[..., Failure],
) -> None:
    """The array overlaps its neighbours: the costliest pair is one of theirs or of the next but one."""
    lab, words = probed
    more = ("--channel", "1", "--inductance", "23Na=260nH", "--inductance", "1H=300nH", "--json")
    pairs = [word for channel in range(1, 8) for word in ("--pair", f"{channel}-{channel + 1}=overlapped")]
    done = run_here("decouple", *words, *more, *pairs)
    assert done.code in (1, 2), done.text
    found = record(done)
    costs = found["coupling"]["pairs"]
    assert len(costs) == 2 * 28
    losses = [round(cost["snr_loss"], 4) for cost in costs]
    assert losses == sorted(losses, reverse=True)
    advice = found["coupling"]["advice"]
    assert any("5-6 overlapped" in line and "mm apart" in line for line in advice)
    assert [row["channel"] for row in found["decoupling"]["preamplifiers"]] == [1, 1]
    assert "Connect port 1 to the preamplifier, powered." in lab.operator.heard
    assert not any(lab.state["bias"])
    assert not any(lab.state["rf"].values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("detune",), "--probes P,Q"),
        (("detune", "--probes", "17"), "such as 17,18"),
        (("detune", "--probes", "17,17"), "two different ports"),
        (("qfactor",), "name files to fit"),
        (("qfactor", "a.s1p", "--simulated"), "not both"),
        (("decouple", "--bias", "2 V"), "--bias"),
        (("decouple", "--inductance", "23Na=2 V"), "--inductance 23Na=2 V"),
        (("decouple", "--inductance", "24Na=2nH"), "no nucleus called '24Na'"),
        (("decouple", "--pair", "1-2=near"), "overlapped, side-by-side, sharing"),
        (("decouple", "--operator", "com5"), "tcp://host:port"),
        (("design", "--nuclei", "23Na"), "two different ones"),
        (("design", "--size", "1mx1mx1m"), "diameter or width x height"),
        (("design", "--q", "100,50"), "both --inductance and --q"),
        (("design", "--trimmer", "5pF"), "two values"),
        (("design", "--field", "0 T"), "above 0"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: tuple[str, ...], said: str, run_here: Callable[..., Failure], tmp_path: Path
) -> None:
    done = run_here(*words, "--runs", tmp_path / "runs")
    assert done.code == 3
    assert said in done.lines[0]
    assert len(done.lines) == 1


def test_a_loop_is_designed_with_parts_picture_and_trade_off(
    run_here: Callable[..., Failure], tmp_path: Path
) -> None:
    """A measured loop of 250 nH: with more weight on 1H its SNR is not less."""
    found = []
    for weight in ("0.9", "0.1"):
        words = ("--inductance", "250nH", "--q", "150,60", "--weight", weight, "--runs", tmp_path, "--json")
        done = run_here("design", *words)
        assert done.code == 0, done.text
        found.append(record(done))
    low, high = ([port["part_snr"] for port in each["design"]["ports"]] for each in found)
    assert low[0] >= high[0]
    assert low[1] <= high[1]
    for each in found:
        picture = (tmp_path / each["run"] / "trade-off.svg").read_text(encoding="utf-8")
        assert picture.startswith("<svg")
        omega_low, omega_high = (6.283185307 * f for f in each["loop"]["frequencies_hz"])
        resistance = each["loop"]["resistance_ohm"]
        assert omega_low * 250e-9 / resistance[0] == pytest.approx(150.0)
        assert omega_high * 250e-9 / resistance[1] == pytest.approx(60.0)
        part = each["design"]["trimmed"]["Ct.low"]
        assert part["fixed_f"] + part["trimmer_low_f"] <= part["target_f"]
        assert part["target_f"] <= part["fixed_f"] + part["trimmer_high_f"]


def test_no_coil_from_unsuitable_parts_is_said_with_the_reasons(
    run_here: Callable[..., Failure], tmp_path: Path
) -> None:
    done = run_here("design", "--capacitors", "1pF,2pF", "--runs", tmp_path)
    assert done.code == 3
    assert "no coil can be built" in done.lines[0]


def test_a_depth_is_judged_by_its_whole_interval() -> None:
    """A bound that lies below the limit decides nothing; one above it passes."""
    group = NucleusPorts("23Na", 33.8e6, (1, 2), "na")
    deep = Decibels(40.0, 38.0, 43.0)
    for other, verdict in (
        (Decibels(30.0, 27.0, 34.0), Verdict.PASS),
        (Decibels(26.0, 24.0, 29.0), Verdict.INCONCLUSIVE),
        (Decibels(20.0, 19.0, 22.0), Verdict.FAIL),
        (Decibels(30.0, 26.0, INF), Verdict.PASS),
        (Decibels(30.0, 20.0, INF), Verdict.INCONCLUSIVE),
        (Decibels(5.0, -INF, 10.0), Verdict.FAIL),
    ):
        judged = judge_depths("depth", group, {1: deep, 2: other}, 25.0)
        assert judged.verdict is verdict
        assert judged.name == "depth (ch 2)"
    assert judge_depths("depth", group, {1: deep}, 25.0).verdict is Verdict.INCONCLUSIVE


def test_a_person_who_does_not_answer_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    ask = ask_person(ignore)
    ask("Take the phantom out of the array.")
    with pytest.raises(RunAborted, match="nobody answered: Put"):
        ask("Put the phantom into the array, as for the scan.")


def test_an_operator_who_cannot_or_is_not_there_ends_the_run() -> None:
    with Lab(seed=1) as lab:
        address = lab.addresses["operator"]
        with pytest.raises(RunAborted, match="no probes and no cables"):
            ask_address(address)("Hold the probes over the middle of loop 1, fixed to a stand.")
    with pytest.raises(ConnectionFailed):
        ask_address(address)("Take the phantom out of the array.")
    with pytest.raises(BenchFileError, match="tcp://host:port"):
        ask_address("http://a")
