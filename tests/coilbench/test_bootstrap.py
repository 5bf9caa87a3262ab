"""``bench.py`` alone, before anything is installed: help, refusals, what decides to install, what is run."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from coilbench.cli import app

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
FILES = ("bench.py", "pyproject.toml", "constraints.txt")


def load(path: Path) -> ModuleType:
    """Import ``bench.py`` from a file, as a module of its own."""
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with what ``bench.py`` reads, and nothing installed."""
    for name in FILES:
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def bench(checkout: Path) -> ModuleType:
    return load(checkout / "bench.py")


def pretend_installed(bench: ModuleType) -> None:
    """Leave what a finished installation leaves."""
    bench.PYTHON.parent.mkdir(parents=True)
    bench.PYTHON.touch()
    bench.STAMP.write_text(bench.pins(), encoding="ascii")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_printed_without_installing(checkout: Path, word: str) -> None:
    """In a process of its own, without site packages: the standard library is enough."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", str(checkout / "bench.py"), word],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == (load(checkout / "bench.py").__doc__ or "").strip()
    assert "python bench.py test" in done.stdout
    assert not (checkout / ".venv").exists()


def test_help_names_every_command(bench: ModuleType) -> None:
    commands = getattr(get_command(app), "commands", {})
    assert len(commands) > 5
    assert set(commands) <= set(re.findall(r"\w+", bench.__doc__ or ""))


def test_help_behind_another_word_goes_to_coilbench(bench: ModuleType) -> None:
    assert bench.commands(["run", "--help"]) == [[str(bench.PYTHON), "-m", "coilbench", "run", "--help"]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["-m", "coilbench", "demo"]),
        (["demo", "--seed", "2"], ["-m", "coilbench", "demo", "--seed", "2"]),
        (["recon", "a folder", "--json"], ["-m", "coilbench", "recon", "a folder", "--json"]),
        (["--version"], ["-m", "coilbench", "--version"]),
        (["test"], ["-m", "pytest"]),
        (["test", "tests/coils", "-k", "q"], ["-m", "pytest", "tests/coils", "-k", "q"]),
    ],
)
def test_words_become_a_command_of_the_environment(
    bench: ModuleType, words: list[str], expected: list[str]
) -> None:
    assert bench.commands(words) == [[str(bench.PYTHON), *expected]]


def test_bench_runs_the_table_of_this_checkout(bench: ModuleType, checkout: Path) -> None:
    table = checkout.resolve() / "benchmarks" / "table.py"
    assert bench.commands(["bench", "gridding", "--json"]) == [
        [str(bench.PYTHON), str(table), "gridding", "--json"]
    ]


def test_check_runs_five_tools_of_the_environment(bench: ModuleType) -> None:
    """Lint, format, both type checkers and the import contracts, none of them from elsewhere on the path."""
    commands = bench.commands(["check"])
    tools = [command[2] if command[1:2] == ["-m"] else Path(command[0]).name for command in commands]
    assert tools == ["ruff", "ruff", "mypy", "basedpyright", "lint-imports"]
    assert {Path(command[0]).parent for command in commands} == {bench.PYTHON.parent}


def test_a_finished_installation_is_reused(bench: ModuleType) -> None:
    assert not bench.installed()
    pretend_installed(bench)
    assert bench.installed()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_ask_for_a_new_installation(bench: ModuleType, checkout: Path, name: str) -> None:
    pretend_installed(bench)
    with (checkout / name).open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    assert not bench.installed()


def test_another_python_asks_for_a_new_installation(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed(bench)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert not bench.installed()


def test_an_environment_without_its_python_or_stamp_is_not_installed(bench: ModuleType) -> None:
    """An installation that was cut off leaves no stamp."""
    pretend_installed(bench)
    bench.STAMP.rename(bench.STAMP.with_name("elsewhere"))
    assert not bench.installed()
    bench.STAMP.with_name("elsewhere").rename(bench.STAMP)
    assert bench.installed()
    bench.PYTHON.unlink()
    assert not bench.installed()


def test_an_old_python_is_refused_before_anything_is_installed(
    bench: ModuleType,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = sys.version.split()[0]
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    monkeypatch.setattr(bench, "NEEDED", (99, 1))
    with pytest.raises(SystemExit) as end:
        bench.main()
    said = capsys.readouterr()
    assert end.value.code == 3
    assert said.out == ""
    assert said.err == f"bench.py: needs Python 99.1 or newer; this is {running}.\n"
    assert not (checkout / ".venv").exists()


def test_the_python_asked_for_is_the_one_of_the_package(bench: ModuleType, checkout: Path) -> None:
    stated = f'requires-python = ">={bench.NEEDED[0]}.{bench.NEEDED[1]}"'
    assert stated in (checkout / "pyproject.toml").read_text(encoding="utf-8")


def test_what_is_installed_is_what_pyproject_lists(bench: ModuleType) -> None:
    """Run-time and development requirements, and the build tools that an editable installation needs."""
    names = {requirement.split(">")[0] for requirement in bench.requirements("run", "dev")}
    assert {"numpy", "typer", "pytest", "ruff", "hatchling", "editables"} <= names
