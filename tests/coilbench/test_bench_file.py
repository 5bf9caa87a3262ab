"""The bench file: what is accepted, and how each mistake is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coilbench.base.errors import BenchFileError
from coilbench.bench import open_bench
from coilbench.bench_file import MAXIMUM_FILE_BYTES, BenchFile, read_bench_file
from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text
from coilbench.toml_mistakes import key_lines
from hil_fixtures.instruments.lab import Lab

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def good() -> str:
    return bench_file_text(DEFAULT_ADDRESSES)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "bench.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchFileError) as caught:
        read_bench_file(path)
    return str(caught.value).splitlines()


def line_of(text: str, start: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def test_template_is_valid_and_frequencies_follow_from_b0(tmp_path: Path, good: str) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(good, encoding="utf-8")
    file = read_bench_file(path)
    assert file.b0 == 3.0
    # 3 T times gamma-bar of the free proton times the IUPAC ratio of 23Na.
    assert file.larmor_frequency("23Na") == pytest.approx(3.0 * 42.577478461e6 * 0.26451900, rel=1e-12)
    assert "33.78" not in good
    assert "127.7" not in good


def test_unknown_key_names_line_key_allowed_and_nearest(tmp_path: Path, good: str) -> None:
    text = good.replace("spokes =", "spoeks =")
    (only,) = mistakes(tmp_path, text)
    assert f"bench.toml:{line_of(text, 'spoeks')}: scan.spoeks: unknown key; did you mean 'spokes'?" in only
    assert "allowed here: nucleus, field_of_view" in only


def test_unknown_table_names_the_nearest(tmp_path: Path, good: str) -> None:
    text = good.replace("[instruments.analyzer]", "[instruments.analyser]")
    answers = "\n".join(mistakes(tmp_path, text))
    assert "instruments.analyser: unknown key; did you mean 'analyzer'?" in answers
    assert "instruments.analyzer: is missing" in answers


def test_unknown_driver_names_the_nearest(tmp_path: Path, good: str) -> None:
    (only,) = mistakes(tmp_path, good.replace('"rs-znb"', '"rs-znbt"'))
    assert "did you mean 'rs-znb'?" in only


def test_driver_of_another_kind_is_refused_before_anything_is_opened(tmp_path: Path, good: str) -> None:
    (only,) = mistakes(tmp_path, good.replace('"coilbench-tuner"', '"nanovna-h"'))
    assert "instruments.tuner: driver 'nanovna-h' is not one for the tuner; allowed: coilbench-tuner" in only


def test_boards_with_one_address_are_refused(tmp_path: Path, good: str) -> None:
    (only,) = mistakes(tmp_path, good.replace("11112", "11111"))
    assert "two boards have the same address" in only


def test_unit_mistake_says_what_was_expected(tmp_path: Path, good: str) -> None:
    (only,) = mistakes(tmp_path, good.replace('b0 = "3 T"', 'b0 = "3 Hz"'))
    assert "expected a number in T" in only
    assert "'3 Hz'" in only


def test_all_mistakes_are_reported_at_once_in_the_order_of_lines(tmp_path: Path, good: str) -> None:
    text = good.replace('role = "check"', 'role = "chekc"').replace("s11_db = -20", "s11_db = 20")
    answers = mistakes(tmp_path, text)
    assert len(answers) == 4
    assert "did you mean 'check'?" in answers[0]
    numbers = [int(answer.split(":")[1]) for answer in answers]
    assert numbers == sorted(numbers)


def test_port_used_twice_and_vial_outside_are_refused(tmp_path: Path, good: str) -> None:
    (twice,) = mistakes(tmp_path, good.replace("9, 10, 11", "8, 10, 11"))
    assert "used twice" in twice
    (outside,) = mistakes(tmp_path, good.replace('radius = "80 mm"', 'radius = "40 mm"'))
    assert "outside the phantom" in outside


def test_limits_of_quality_control_are_taken_from_their_table(tmp_path: Path, good: str) -> None:
    path = tmp_path / "bench.toml"
    table = '[qc]\nname = "strict 1"\nnoise_warn_db = "0.3 dB"\ndiameter_fail = "1.5 mm"\n'
    path.write_text(good + "\n" + table, encoding="utf-8")
    limits = read_bench_file(path).qc
    assert (limits.name, limits.noise_warn_db, limits.noise_fail_db) == ("strict 1", 0.3, 1.0)
    assert limits.diameter_fail == pytest.approx(1.5e-3, rel=1e-12)


def test_a_wrong_limit_of_quality_control_is_answered_with_its_line(tmp_path: Path, good: str) -> None:
    (only,) = mistakes(tmp_path, text := good + '\n[qc]\nname = "a"\nnoise_wran_db = 0.3\n')
    assert f"bench.toml:{line_of(text, 'noise_wran_db')}: qc.noise_wran_db: unknown key" in only
    assert "did you mean 'noise_warn_db'?" in only
    (only,) = mistakes(tmp_path, text := good + '\n[qc]\nname = "a"\nsnr_warn = 0.3\n')
    assert f"bench.toml:{line_of(text, '[qc]')}: qc: snr: a warning comes before its limit" in only
    (only,) = mistakes(tmp_path, good + "\n[qc]\nsnr_warn = 0.05\n")
    assert "give the set a name of its own" in only


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BenchFileError, match="coilbench init"):
        read_bench_file(tmp_path / "none.toml")


def test_broken_toml_and_huge_file_are_one_sentence(tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, "[bench\nname=")
    assert "is not TOML" in only
    (huge,) = mistakes(tmp_path, "#" * (MAXIMUM_FILE_BYTES + 1))
    assert "too large" in huge


@given(st.text(alphabet='[]ab.="\n 1', max_size=80))
def test_any_text_is_a_bench_file_error_or_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "bench.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchFileError):
        read_bench_file(path)


def test_lines_of_keys_in_arrays_of_tables_are_found() -> None:
    lines = key_lines('a = 1\n[t]\nb = 2\n[[t.v]]\nname = "x"\n[[t.v]]\n"quoted key" = 3\n')
    assert lines["a",] == 1
    assert lines["t", "b"] == 3
    assert lines["t", "v", 1, "quoted key"] == 7


def test_every_field_of_the_bench_file_is_frozen(good: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(good, encoding="utf-8")
    file: BenchFile = read_bench_file(path)
    with pytest.raises(ValueError, match="frozen"):
        file.scan.spokes = 1  # type: ignore[misc]


def test_instruments_that_do_not_have_what_the_file_expects_are_named_and_closed(tmp_path: Path) -> None:
    with Lab(tuned=True) as lab:
        addresses = {**lab.addresses, "receivers": lab.addresses["receivers"][:3]}
        text = bench_file_text(addresses).replace("15, 16]", "15, 17]").replace('"1H" = "h"', '"1H" = "x"')
        path = tmp_path / "bench.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(BenchFileError) as caught:
            open_bench(path)
        (tmp_path / "again.toml").write_text(bench_file_text(lab.addresses), encoding="utf-8")
        with open_bench(tmp_path / "again.toml") as bench:  # nothing was left open
            assert bench.analyzer.port_count == 16
    said = str(caught.value).splitlines()
    assert len(said) == 3
    assert "names port 17" in said[0]
    assert "has 8 channels" in said[1]
    assert "ch1.x.tune" in said[2]
