"""Commands of the whole loop and of the bench: demo, run, init, sim, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coilbench.base.errors import COULD_NOT_MEASURE, BenchFileError
from coilbench.commands.options import BenchPath, Json, Runs, finish, watched


def demo(
    seed: Annotated[int, typer.Option(min=0, help="Which simulated array, load and noise.")] = 1,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Run the whole loop on simulated instruments: tune, scan, reconstruct, quantify, report."""
    from coilbench.phantom_run import run_bench_file
    from coilbench.simulated_bench import bench_file_text, simulated_instruments

    with simulated_instruments(seed) as addresses, watched(quiet=as_json) as watcher:
        runs.mkdir(parents=True, exist_ok=True)
        path = runs / "demo-bench.toml"
        path.write_text(bench_file_text(addresses), encoding="utf-8")
        outcome = run_bench_file(path, runs, watcher)
    finish(
        outcome, as_json=as_json, next_steps=("coilbench init", "coilbench sim", "coilbench run bench.toml")
    )


def run(bench: BenchPath = Path("bench.toml"), runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """Run the whole loop on the instruments of a bench file."""
    from coilbench.phantom_run import run_bench_file

    with watched(quiet=as_json) as watcher:
        outcome = run_bench_file(bench, runs, watcher)
    finish(
        outcome, as_json=as_json, next_steps=(f"coilbench run {bench}", f"coilbench recon {outcome.folder}")
    )


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the bench file.")] = Path("bench.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented bench file for the simulated bench, to start from."""
    from coilbench.simulated_bench import DEFAULT_ADDRESSES, bench_file_text

    if path.exists() and not force:
        raise BenchFileError(f"{path} exists; name another file or add --force")
    path.write_text(bench_file_text(DEFAULT_ADDRESSES), encoding="utf-8")
    print(path)
    Console(stderr=True).print(
        f"Next: `coilbench sim` in one terminal, `coilbench run {path}` in another.", highlight=False
    )


def sim(
    seed: Annotated[int, typer.Option(min=0, help="Which simulated array, load and noise.")] = 1,
    tuned: Annotated[bool, typer.Option("--tuned", help="Start with the array tuned and matched.")] = False,
    probes: Annotated[bool, typer.Option("--probes", help="With two probes and movable cables.")] = False,
) -> None:
    """Serve the simulated instruments at the addresses of a fresh bench file until Ctrl-C."""
    from coilbench.simulated_bench import serve

    raise typer.Exit(serve(seed, tuned=tuned, probes=probes))


def doctor(bench: BenchPath = Path("bench.toml"), as_json: Json = False) -> None:
    """Check the installation, the bench file and every instrument, one line each."""
    from coilbench.checkup import check_bench, print_checks

    checks = check_bench(bench)
    if as_json:
        print(json.dumps({"schema": 1, "checks": [check.as_json() for check in checks]}))
    else:
        print_checks(Console(), checks)
    raise typer.Exit(0 if all(check.passed for check in checks) else COULD_NOT_MEASURE)
