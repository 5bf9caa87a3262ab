"""Commands on an array at the bench: sweep, tune, match."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coilbench.commands.options import (
    BenchPath,
    Json,
    Runs,
    Seed,
    Serial,
    Simulated,
    Tuned,
    finish,
    next_steps,
    on_bench,
    watched,
)

NoTuner = Annotated[bool, typer.Option("--no-tuner", help="There is no tuner on this bench.")]


def sweep(
    bench: BenchPath = Path("bench.toml"),
    serial: Serial = None,
    no_tuner: NoTuner = False,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    tuned: Tuned = False,
    as_json: Json = False,
) -> None:
    """Sweep all ports as they stand: S-matrix, Smith charts, Q, predicted noise, verdict."""
    from coilbench.array_measurements import sweep_array

    with (
        watched(quiet=as_json) as watcher,
        on_bench(bench, runs, simulated=simulated, seed=seed, tuned=tuned) as at,
    ):
        outcome = sweep_array(at.path, runs, watcher, serial_number=serial, tuner=not no_tuner)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench tune", runs))


def tune(
    bench: BenchPath = Path("bench.toml"),
    serial: Serial = None,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Tune and match every port at its Larmor frequency, then characterise the array."""
    from coilbench.array_measurements import tune_array

    with (
        watched(quiet=as_json) as watcher,
        on_bench(bench, runs, simulated=simulated, seed=seed) as at,
    ):
        outcome = tune_array(at.path, runs, watcher, serial_number=serial)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench sweep", runs))


def match(
    bench: BenchPath = Path("bench.toml"),
    report_only: Annotated[
        bool, typer.Option("--report", help="Move nothing; only say how far each port is off.")
    ] = False,
    serial: Serial = None,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    tuned: Tuned = False,
    as_json: Json = False,
) -> None:
    """Match every port with its match trimmer alone; tune trimmers stay where they are."""
    from coilbench.array_measurements import match_array

    with (
        watched(quiet=as_json) as watcher,
        on_bench(bench, runs, simulated=simulated, seed=seed, tuned=tuned) as at,
    ):
        outcome = match_array(at.path, runs, watcher, serial_number=serial, adjust=not report_only)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench tune", runs))
