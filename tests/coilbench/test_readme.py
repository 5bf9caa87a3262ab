"""What the README and the documents promise is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from coilbench.bench_file import BenchFile
from coilbench.simulated_bench import bench_file_text
from drivers.registry import driver_names
from hil_fixtures.instruments.lab import Lab

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_the_python_loop_in_the_readme_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 13
    monkeypatch.chdir(tmp_path)
    with Lab(seed=2) as lab:
        text = bench_file_text(lab.addresses)
        small = text.replace("spokes = 3200", "spokes = 1200").replace("repetitions = 2", "repetitions = 1")
        assert small != text
        (tmp_path / "bench.toml").write_text(small, encoding="utf-8")
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - that is what readers will do
        assert not any(lab.state["rf"].values())
    said = capsys.readouterr().out
    assert re.search(r"\d+ sweeps, array pass, SNR \d+\.\d", said)
    assert said.count("mmol/L") == 7


def test_every_driver_stands_in_the_table_of_real_hardware() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in driver_names():
        assert f"`{name}`" in readme


def test_every_link_between_the_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 10
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and (ROOT / "docs").exists():
                linked = (page.parent / target).resolve()
                assert linked.exists() or linked.name in ("CONTRIBUTING.md", "CHANGELOG.md"), (
                    page.name,
                    target,
                )


def test_every_key_of_the_bench_file_is_in_its_reference() -> None:
    reference = (ROOT / "docs" / "reference" / "bench-file.md").read_text(encoding="utf-8")
    schema = BenchFile.model_json_schema()
    tables = [schema, *schema["$defs"].values()]
    missing = {key for table in tables for key in table.get("properties", {}) if f"`{key}`" not in reference}
    assert not missing
