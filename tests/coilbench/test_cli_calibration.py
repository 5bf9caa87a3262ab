"""Calibrating an array's bench and sweeping with it: a channel of two ports behind cables that reflect."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from coilbench.array_calibration import CalibrationWish, calibrate_array
from coilbench.array_measurements import sweep_array
from coilbench.asking import PersonAtStandards
from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.events import ignore
from coilbench.base.verdict import Verdict
from coilbench.coil_store import read_history
from coilbench.procedures.operator import Answer, Request
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from coils.quality.record import as_array
from hil_fixtures.instruments.rs_znbt import RsZnbt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What hangs on the cables when it is no standard: reciprocal, passive, flat over frequency.
DEVICE = np.array([[0.08j, 0.25], [0.25, -0.05]])


class Cables:
    """Two ports of an analyzer whose cables reflect, delay and lose; what hangs on them is changed."""

    port_count = 2

    def __init__(self) -> None:
        self.hanging = np.zeros((2, 2), complex)

    def rf_output(self, source: str, on: bool, /) -> None:
        """Notice nothing."""

    def scattering(self, f: np.ndarray, /) -> np.ndarray:
        s = np.broadcast_to(self.hanging, (f.size, 2, 2))
        w = 2 * np.pi * f
        near = np.stack([0.06 * np.exp(-1j * w * 1e-9), 0.08 * np.exp(-1j * w * 2e-9 + 1j)], -1)
        far = np.stack([0.09 * np.exp(-1j * w * 3e-9), 0.05 * np.exp(-1j * w * 1e-9 - 1j)], -1)
        way = 0.9 * np.exp(-1j * w[:, None] * np.array([5e-9, 5.4e-9]))
        inner = np.linalg.solve(np.eye(2) - s * far[:, None, :], s)
        seen = way[:, :, None] * inner * way[:, None, :]
        seen[:, [0, 1], [0, 1]] += near
        return np.asarray(seen)


class Hands:
    """An operator who connects what is asked for."""

    def __init__(self, cables: Cables) -> None:
        self.cables = cables

    def ask(self, request: Request, /) -> Answer:
        words = request.instruction.split()
        ports = [int(word) - 1 for word in words if word.isdigit()]
        if len(ports) == 2:
            self.cables.hanging = np.array([[0, 1], [1, 0]], complex)
        else:
            self.cables.hanging = np.diag(np.diag(self.cables.hanging))
            value = {"SHORT": -1.0, "OPEN": 1.0, "LOAD": 0.0}[words[1]]
            self.cables.hanging[ports[0], ports[0]] = value
        return Answer.DONE


@pytest.fixture
def cables(tmp_path: Path) -> Iterator[tuple[Cables, Path]]:
    """Yield cables and a bench file of one channel on them."""
    device = Cables()
    with RsZnbt(device, port_count=2, seed=3) as vna:
        address = "tcp://{}:{}".format(*vna.socket_address)
        at = {**DEFAULT_ADDRESSES, "analyzer_hislip": address, "analyzer_tcp": address}
        text = bench_file_text(at)
        for old, new in (
            ("channels = 8", "channels = 1"),
            ("[1, 2, 3, 4, 5, 6, 7, 8]", "[1]"),
            ("[9, 10, 11, 12, 13, 14, 15, 16]", "[2]"),
            ("points = 201", "points = 21"),
        ):
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = tmp_path / "bench.toml"
        path.write_text(text, encoding="utf-8")
        yield device, path


def test_a_sweep_behind_a_fresh_calibration_is_the_devices_and_an_expired_one_states_nothing(
    cables: tuple[Cables, Path], tmp_path: Path
) -> None:
    """Raw reflections are wrong by 0.06 and more; corrected ones by less than the stated uncertainty."""
    device, path = cables
    runs = tmp_path / "runs"
    wish = CalibrationWish("solt", None, 0.002, 295.0)
    made = calibrate_array(path, runs, ignore, Hands(device), wish)
    assert made.verdict is Verdict.PASS
    folder = made.folder / "calibration"

    device.hanging = DEVICE
    sweep_array(path, runs, ignore, tuner=False)
    sweep_array(path, runs, ignore, tuner=False, calibration=folder, temperature=295.5)
    raw, corrected = (visit.record for visit in read_history(runs, "SIM-8-0001").visits)
    for place, nucleus in enumerate(corrected.nuclei):
        error = abs(as_array(nucleus.scattering or ())[0, 0] - DEVICE[place, place])
        assert error < corrected.s_uncertainty < 0.02
        assert abs(as_array(raw.nuclei[place].scattering or ())[0, 0] - DEVICE[place, place]) > 0.04
    assert raw.calibration is None
    assert corrected.calibration is not None
    assert corrected.calibration.kind == "solt"
    assert corrected.calibration.name == made.folder.name

    with pytest.raises(MeasurementError, match="temperature now is not known"):
        sweep_array(path, runs, ignore, tuner=False, calibration=folder)
    index = folder / "calibration.json"
    tree: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    tree["created"] = (datetime.now(UTC) - timedelta(hours=11)).isoformat()
    index.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(MeasurementError, match=r"11\.0 h old"):
        sweep_array(path, runs, ignore, tuner=False, calibration=folder, temperature=295.5)
    assert len(read_history(runs, "SIM-8-0001").visits) == 2


def test_reflections_alone_do_not_correct_an_array_and_a_kit_without_standards_is_refused(
    cables: tuple[Cables, Path], tmp_path: Path
) -> None:
    device, path = cables
    made = calibrate_array(path, tmp_path, ignore, Hands(device), CalibrationWish("sol", None, 0.002, None))
    with pytest.raises(BenchFileError, match="solt or unknown-thru"):
        sweep_array(path, tmp_path, ignore, tuner=False, calibration=made.folder / "calibration")
    with pytest.raises(BenchFileError, match=r"holds none of short\.s1p"):
        calibrate_array(path, tmp_path, ignore, Hands(device), CalibrationWish("sol", tmp_path, 0.0, None))


def test_a_person_answers_with_enter_r_or_a(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nwhat\nR\na\n"))
    person = PersonAtStandards(ignore)
    request = Request("connect SHORT to port 1", 2, 9, "port 1 still looks as with OPEN")
    assert [person.ask(request) for _ in range(4)] == [
        Answer.DONE,
        Answer.REPEAT,
        Answer.ABORT,
        Answer.ABORT,
    ]
    said = capsys.readouterr().err
    assert "2/9: connect SHORT to port 1" in said
    assert "still looks as with OPEN" in said
