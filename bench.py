"""Start coilbench on a machine that has nothing but Python (Linux, macOS, Windows).

    python bench.py                      the demonstration: simulated bench, tune, scan, report
    python bench.py test [ARGUMENTS]     the test suite
    python bench.py check                lint, types, import contracts
    python bench.py bench [NAME] [--json]    benchmarks beside their peers
    python bench.py ANYTHING ELSE        the same as: coilbench ANYTHING ELSE
                                         (demo, run, sweep, tune, match, decouple, qfactor, detune, design,
                                         passport, calibrate, init, sim, doctor, recon, noise, snr, tsc,
                                         qc, trend, report, export; each has --help)
    python bench.py --help               this text; installs nothing

The first call makes .venv beside this file and installs what pyproject.toml asks for at the versions of
constraints.txt; later calls reuse it while these files are unchanged. A folder wheelhouse/ beside this
file is used instead of the network when it is there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "coilbench.stamp"
PEERS_STAMP = VENV / "peers.stamp"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NEEDED = (3, 11)


def fail(sentence: str) -> NoReturn:
    """Print one sentence and leave with the exit code of 'could not measure'."""
    print(f"bench.py: {sentence}", file=sys.stderr)
    raise SystemExit(3)


def pins() -> str:
    """Return the fingerprint of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def requirements(*groups: str) -> list[str]:
    """Return what pyproject.toml lists in its dependency ``groups``; "run" are those of the product."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = {**project["dependency-groups"], "run": project["project"]["dependencies"]}
    return [line for group in groups for line in listed[group]]


def pip_install(what: list[str]) -> None:
    """Install into .venv at the versions of constraints.txt, or leave with a sentence."""
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if (ROOT / "wheelhouse").is_dir():
        pip += ["--no-index", "--find-links", str(ROOT / "wheelhouse")]
    pip += ["--constraint", str(ROOT / "constraints.txt")]
    if subprocess.run([*pip, *what], check=False).returncode:
        fail(
            "the installation failed (pip's words are above); it needs the Python package index, "
            "or a folder wheelhouse/ with all wheels beside bench.py."
        )


def install() -> None:
    """Make .venv and install the package, editable, with its development tools."""
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        fail(
            "this Python has no venv module; install it (Debian and Ubuntu: apt install python3-venv) "
            "or use a Python from python.org, then run this again."
        )
    print("coilbench: installing into .venv (once, until the pinned versions change) ...", file=sys.stderr)
    if VENV.exists():
        shutil.rmtree(VENV)
    venv.create(VENV, with_pip=True)
    pip_install(requirements("run", "dev"))
    pip_install(["--no-build-isolation", "--no-deps", "--editable", str(ROOT)])
    STAMP.write_text(pins(), encoding="ascii")


def installed() -> bool:
    """Answer whether .venv is there and was made from the present pins."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="ascii") == pins()


def commands(arguments: list[str]) -> list[list[str]]:
    """Translate the words behind bench.py into command lines of the virtual environment."""
    python = str(PYTHON)
    word, rest = (arguments[0], arguments[1:]) if arguments else ("demo", [])
    if word == "test":
        return [[python, "-m", "pytest", *rest]]
    if word == "check":
        return [
            [python, "-m", "ruff", "check", "."],
            [python, "-m", "ruff", "format", "--check", "."],
            [python, "-m", "mypy"],
            [python, "-m", "basedpyright", "--pythonpath", python],
            [str(PYTHON.parent / "lint-imports")],
        ]
    if word == "bench":
        return [[python, str(ROOT / "benchmarks" / "table.py"), *rest]]
    return [[python, "-m", "coilbench", word, *rest]]


def main() -> int:
    """Install when needed, then run what was asked for and return its exit code."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print((__doc__ or "").strip())
        return 0
    if sys.version_info < NEEDED:
        fail(f"needs Python {NEEDED[0]}.{NEEDED[1]} or newer; this is {sys.version.split()[0]}.")
    if not installed():
        install()
    if sys.argv[1:2] == ["bench"] and not PEERS_STAMP.exists():
        print("coilbench: installing the benchmarks' peers into .venv (once) ...", file=sys.stderr)
        pip_install(requirements("peers"))
        PEERS_STAMP.touch()
    code = 0
    for command in commands(sys.argv[1:]):
        directory = ROOT if sys.argv[1:2] in (["test"], ["check"]) else None
        with subprocess.Popen(command, cwd=directory) as process:
            while process.poll() is None:
                try:
                    process.wait()
                except KeyboardInterrupt:
                    continue  # the child got Ctrl-C too and makes the bench safe; wait for it
        code = code or process.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(main())
