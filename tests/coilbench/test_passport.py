"""Facts about coil passports: made of run folders alone, escaped, and honest about what is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skrf

from coilbench.base.errors import BenchFileError
from coilbench.base.verdict import Verdict, judge, overall
from coilbench.coil_passport import passport_path, write_passport
from coilbench.coil_store import keep_record, read_history
from coilbench.report.passport import (
    comparison_lines,
    last_comparison,
    last_of_each_channel,
    standing,
)
from coils.quality import Calibration, CoilRecord, NucleusRecord, PortResonance, Reading, coil_loading
from coils.quality.record import as_matrix

if TYPE_CHECKING:
    from pathlib import Path

FIRST = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> $\\frac{&'\""


def nucleus(rng: np.random.Generator, detuning: float = 32.0) -> NucleusRecord:
    """Return a nucleus of three channels, everything measured, as reproducible as it says."""
    size = 0.05 * np.eye(3) + 0.002 * rng.standard_normal((3, 3))
    fits = tuple(
        PortResonance(
            Reading(33.78e6 + float(rng.normal(0, 500.0)), 1e3),
            Reading(100.0 + float(rng.normal(0, 0.5)), 1.0),
            Reading(200.0 + float(rng.normal(0, 1.0)), 2.0),
            Reading(1.0, 0.02),
        )
        for _ in range(3)
    )
    return NucleusRecord(
        "23Na",
        33.78e6,
        (1, 2, 3),
        scattering=as_matrix(np.abs(size + size.T) / 2 + 0j),
        isolation=(0.1, 0.1, 0.1),
        resonances=fits,
        refusals=("", "", ""),
        loadings=(coil_loading(Reading(264.0, 2.0), Reading(191.0, 2.0)), None, None),
        noise_correlation=as_matrix(np.eye(3) + 0.05j),
        snr_factor=(0.99, 0.98, 0.97),
        detuning_db=(Reading(detuning, 1.0), Reading(33.0, 1.0), None),
    )


def visit(runs: Path, day: int, serial: str = "SN-1", **changes: object) -> CoilRecord:
    """Put a visit into a run folder of its own."""
    rng = np.random.default_rng(day)
    detuning = float(changes.pop("detuning", 32.0))  # type: ignore[arg-type]
    when = FIRST + timedelta(days=day)
    folder = runs / f"{when:%Y-%m-%dT%H-%M-%SZ}_{day:04x}"
    folder.mkdir(parents=True)
    record = CoilRecord(
        serial_number=serial,
        run=folder.name,
        kind="sweep",
        measured=when,
        field=3.0,
        load="ball",
        temperature=293.15,
        s_uncertainty=0.005,
        calibration=None,
        nuclei=(nucleus(rng, detuning=detuning),),
        judged=(judge("worst reflection (port 2)", -25.0, "dB", uncertainty=1.0, at_most=-20.0),),
    )
    record = replace(record, **changes)  # type: ignore[arg-type]
    axis = np.linspace(33e6, 34.6e6, 21)
    s = np.full((21, 3, 3), 0.1 + 0.05j)
    keep_record(folder, record, skrf.Network(f=axis, f_unit="Hz", s=s, z0=50.0))
    return record


class Texts(HTMLParser):
    """Collects tags, and the text outside of style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: Path) -> Texts:
    texts = Texts()
    texts.feed(page.read_text(encoding="utf-8"))
    return texts


def test_a_hostile_serial_number_and_load_are_only_text(tmp_path: Path) -> None:
    """Neither markup nor mathematics nor a path comes of them; the page asks the network for nothing."""
    reason = "12.0 h old, allowed 10 h"
    expired = Calibration("<i>morning", "SOLT", FIRST, FIRST, 295.0, Verdict.FAIL, reason)
    visit(tmp_path, 0, HOSTILE, load="<img src=http://x>", kind="sw<b>eep", calibration=expired)
    issued = write_passport(tmp_path, HOSTILE)
    assert issued.page.parent == tmp_path / "passports"
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.html", issued.page.name)
    found = read(issued.page)
    assert not found.tags & {"script", "img", "b", "i", "iframe", "link", "object"}
    assert reason in found.text
    assert HOSTILE in found.text
    assert "<img src=http://x>" in found.text
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in found.addresses)
    assert json.dumps({"serial": HOSTILE})[12:-2] in json.dumps(issued.values["serial_number"])


@pytest.mark.parametrize("serial", ["../../etc/passwd", "..", "CON", "sn-1", "SN/1", "SN-1 ", "x" * 64, "ü"])
def test_no_two_serial_numbers_share_a_page_and_none_leaves_the_folder(tmp_path: Path, serial: str) -> None:
    pages = {passport_path(tmp_path, each) for each in ("SN-1", serial)}
    assert len({page.name.lower() for page in pages}) == 2
    assert {page.resolve().parent for page in pages} == {(tmp_path / "passports").resolve()}


def test_the_history_is_the_run_folders_alone(tmp_path: Path) -> None:
    """Copied folders give the same passport; other coils stay out; order is that of time."""
    for day in (9, 0, 30):
        visit(tmp_path / "a", day)
    visit(tmp_path / "a", 4, "SN-2")
    (tmp_path / "a").rename(tmp_path / "b")
    history = read_history(tmp_path / "b", "SN-1")
    days = [(entry.record.measured - FIRST).days for entry in history.visits]
    assert days == [0, 9, 30]
    issued = write_passport(tmp_path / "b", "SN-1")
    assert [row["run"][-4:] for row in issued.values["visits"]] == ["0000", "0009", "001e"]
    text = read(issued.page).text
    assert "3, the first 2026-03-02" in text
    assert "264.0 ± 2.0" in text
    assert "no statement" in text


def test_an_unchanged_coil_and_a_failed_detuning_circuit_are_told_apart(tmp_path: Path) -> None:
    visit(tmp_path, 0)
    visit(tmp_path, 1)
    (line,) = comparison_lines(last_comparison(read_history(tmp_path, "SN-1")))
    assert line.startswith("Nothing changed significantly since 2026-03-02")
    visit(tmp_path, 2, detuning=20.0)
    found = last_comparison(read_history(tmp_path, "SN-1"))
    assert found is not None
    lines = comparison_lines(found)
    assert "1 of " in lines[0]
    assert lines[1].startswith("23Na detuning ch 1: 32 dB → 20 dB (-12 dB ± 1.41 dB)")
    assert [change.name for change in found.significant] == ["23Na detuning ch 1"]


def test_only_visits_of_one_kind_are_compared(tmp_path: Path) -> None:
    visit(tmp_path, 0)
    visit(tmp_path, 1, kind="tune")
    found = last_comparison(read_history(tmp_path, "SN-1"))
    assert found is None
    assert comparison_lines(found)[0].startswith("First visit of its kind")


def test_each_quantity_keeps_its_last_verdict_and_its_day(tmp_path: Path) -> None:
    """A later run that measured something else does not make an earlier failure go away."""
    failed = judge("23Na smallest detuning (ch 1)", 20.0, "dB", uncertainty=1.0, at_least=25.0)
    visit(tmp_path, 0, kind="detune", judged=(failed,))
    visit(tmp_path, 3)
    judged = standing(read_history(tmp_path, "SN-1"))
    assert overall(judged) is Verdict.FAIL
    assert {row.name for row in judged} == {
        "worst reflection (port 2), 2026-03-05",
        "23Na smallest detuning (ch 1), 2026-03-02",
    }
    repaired = judge("23Na smallest detuning (ch 3)", 31.0, "dB", uncertainty=1.0, at_least=25.0)
    visit(tmp_path, 5, kind="detune", judged=(repaired,))
    assert overall(standing(read_history(tmp_path, "SN-1"))) is Verdict.PASS


def test_a_run_over_one_channel_leaves_the_others_as_they_were_last(tmp_path: Path) -> None:
    visit(tmp_path, 0)
    (whole,) = visit(tmp_path, 1).nuclei
    one = replace(whole, detuning_db=(None, Reading(41.0, 1.0), None))
    visit(tmp_path, 2, nuclei=(one,))
    found = last_of_each_channel(read_history(tmp_path, "SN-1"), "detuning_db")
    assert found is not None
    (group,) = found[1]
    assert group.detuning_db == (Reading(32.0, 1.0), Reading(41.0, 1.0), None)


def test_an_expired_calibration_leaves_no_verdict(tmp_path: Path) -> None:
    expired = Calibration("morning", "SOLT", FIRST, FIRST, 295.0, Verdict.FAIL, "12.0 h old, allowed 10 h")
    visit(tmp_path, 1, calibration=expired)
    assert overall(standing(read_history(tmp_path, "SN-1"))) is Verdict.INCONCLUSIVE


def test_records_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    visit(tmp_path, 0)
    visit(tmp_path, 1)
    bad = visit(tmp_path, 2)
    broken = tmp_path / bad.run / "coil.json"
    broken.write_text(broken.read_text(encoding="utf-8")[:200], encoding="utf-8")
    odd = visit(tmp_path, 3, nuclei=(replace(nucleus(np.random.default_rng(1)), nucleus="$\\bad$"),))
    (tmp_path / visit(tmp_path, 4).run / "coil.s3p").write_text("! nothing\n", encoding="ascii")
    issued = write_passport(tmp_path, "SN-1")
    assert len(issued.values["visits"]) == 3
    assert any(line.startswith(f"{bad.run}/coil.json is left out: is not JSON") for line in issued.lines)
    assert any(f"{odd.run}/coil.json is left out: no nucleus" in line for line in issued.lines)
    assert any("cannot be read as Touchstone" in line for line in issued.lines)


def test_an_unknown_coil_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(BenchFileError, match="keep one"):
        write_passport(tmp_path, "SN-1")
    visit(tmp_path, 0)
    with pytest.raises(BenchFileError, match="there are: SN-1"):
        write_passport(tmp_path, "SN-2")
