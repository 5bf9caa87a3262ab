"""Commands on an array at the bench: sweep, tune, match."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from coilbench.base.errors import BenchFileError
from coilbench.commands.options import (
    BenchPath,
    Json,
    Runs,
    Seed,
    Serial,
    Simulated,
    Tuned,
    finish,
    kelvin,
    next_steps,
    on_bench,
    travel_in_turns,
    watched,
)

NoTuner = Annotated[bool, typer.Option("--no-tuner", help="There is no tuner on this bench.")]


def sweep(
    bench: BenchPath = Path("bench.toml"),
    serial: Serial = None,
    no_tuner: NoTuner = False,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Folder of a calibration to correct with.")
    ] = None,
    temperature: Annotated[
        str | None, typer.Option("--temperature", help="Of the room now, such as 295.4 K.")
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="An analyzer of few ports: asks you for cables, pair by pair.")
    ] = False,
    loads: Annotated[
        Path | None,
        typer.Option("--loads", help="With --pairwise: folder of load-1.s1p, ...; by default ideal 50 ohm."),
    ] = None,
    repeatability: Annotated[
        float | None,
        typer.Option(min=1e-6, max=0.1, help="With --pairwise: of S between connections (standard); 0.002."),
    ] = None,
    smith: Annotated[bool, typer.Option("--smith", help="Also draw Smith charts in the terminal.")] = False,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    tuned: Tuned = False,
    as_json: Json = False,
) -> None:
    """Sweep all ports as they stand: S-matrix, Smith charts, Q, predicted noise, verdict."""
    from coilbench.array_measurements import sweep_array
    from coilbench.array_pairwise import REPEATABILITY, PairwiseWish, sweep_pairwise
    from coilbench.asking import PersonAtStandards, print_notes

    if not pairwise and (loads is not None or repeatability is not None):
        raise BenchFileError("--loads and --repeatability belong to --pairwise")
    room = kelvin(temperature)
    with (
        watched(quiet=as_json) as display,
        on_bench(bench, runs, simulated=simulated, seed=seed, tuned=tuned) as at,
    ):
        if pairwise:
            watcher = print_notes if as_json else display
            wish = PairwiseWish(loads, repeatability or REPEATABILITY, calibration, room)
            outcome = sweep_pairwise(
                at.path,
                runs,
                watcher,
                PersonAtStandards(watcher),
                wish,
                serial_number=serial,
                tuner=not no_tuner,
            )
        else:
            outcome = sweep_array(
                at.path,
                runs,
                display,
                serial_number=serial,
                tuner=not no_tuner,
                calibration=calibration,
                temperature=room,
            )
    if smith and not as_json and (outcome.folder / "coil.json").is_file():  # there is none with pairs missing
        from coilbench.terminal_array import print_smith_charts

        print_smith_charts(Console(), outcome.folder)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench tune", runs))


def tune(
    bench: BenchPath = Path("bench.toml"),
    serial: Serial = None,
    earlier: Annotated[
        Path | None,
        typer.Option("--from", help="Run folder of an earlier tuning: after a change of the load."),
    ] = None,
    check_motors: Annotated[
        bool,
        typer.Option(
            "--check-motors", help="Probe and home all axes at the end; name motors that stand or lose steps."
        ),
    ] = False,
    manual: Annotated[
        bool, typer.Option("--manual", help="No motors: guides you at the trimmers, with a live Smith chart.")
    ] = False,
    clockwise: Annotated[
        str, typer.Option("--clockwise", help="With --manual: what clockwise does, more or less capacitance.")
    ] = "more",
    turns: Annotated[
        list[str] | None,
        typer.Option("--turns", metavar="na.tune=15", help="With --manual: turns of a travel; repeatable."),
    ] = None,
    runs: Runs = Path("runs"),
    simulated: Simulated = False,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Tune and match every port at its Larmor frequency, then characterise the array."""
    if manual:
        if earlier is not None or check_motors:
            raise BenchFileError("--manual needs no motors: leave out --from and --check-motors")
        _tune_by_hand(bench, serial, clockwise, turns or [], runs, seed, simulated=simulated, as_json=as_json)
    from coilbench.array_measurements import tune_array

    with (
        watched(quiet=as_json) as watcher,
        on_bench(bench, runs, simulated=simulated, seed=seed) as at,
    ):
        outcome = tune_array(
            at.path, runs, watcher, serial_number=serial, earlier=earlier, check_motors=check_motors
        )
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench sweep", runs))


def _tune_by_hand(
    bench: Path,
    serial: str | None,
    clockwise: str,
    turns: list[str],
    runs: Path,
    seed: int,
    *,
    simulated: bool,
    as_json: bool,
) -> NoReturn:
    """Guide the person at the terminal, or the hands of a simulated bench."""
    from coilbench.array_manual import Screwdriver, tune_array_by_hand
    from coilbench.asking import ask_address
    from coilbench.terminal_tuning import OperatorAtTrimmers, PersonAtTrimmers

    if clockwise not in {"more", "less"}:
        raise BenchFileError(f"--clockwise is more or less; got {clockwise!r}")
    if as_json and not simulated:
        raise BenchFileError("--manual talks to you: leave out --json; record.json is in the run folder")
    way: Literal["more", "less"] = "more" if clockwise == "more" else "less"
    travel = travel_in_turns(turns)
    with (
        watched(quiet=as_json) as watcher,
        on_bench(bench, runs, simulated=simulated, seed=seed) as at,
        PersonAtTrimmers(Console(stderr=True), watcher) as person,
    ):
        hands = person if at.operator is None else OperatorAtTrimmers(ask_address(at.operator))
        hand = Screwdriver(hands.ask, hands.show, way, travel)
        outcome = tune_array_by_hand(at.path, runs, watcher, hand, serial_number=serial)
    finish(outcome, as_json=as_json, next_steps=next_steps(outcome, "coilbench sweep --no-tuner", runs))


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


def calibrate(
    bench: BenchPath = Path("bench.toml"),
    kind: Annotated[str, typer.Option("--kind", help="solt, unknown-thru, trl or sol.")] = "solt",
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="The cables of an analyzer of few ports; also --kind one-path.")
    ] = False,
    kit: Annotated[
        Path | None, typer.Option("--kit", help="Folder with short.s1p, open.s1p, load.s1p, thru.s2p.")
    ] = None,
    uncertainty: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Of each standard's reflection (standard).")
    ] = 0.005,
    temperature: Annotated[
        str | None, typer.Option("--temperature", help="Of the room, such as 295.4 K.")
    ] = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Calibrate the analyzer at the array's cables, standard by standard, for the sweeps of `sweep`."""
    from typing import cast, get_args

    from coilbench.array_calibration import CalibrationWish, calibrate_array
    from coilbench.asking import PersonAtStandards
    from coils.calibration import CalibrationKind

    kinds = get_args(CalibrationKind)
    if kind not in kinds or (kind == "one-path" and not pairwise):
        raise BenchFileError(f"--kind is solt, unknown-thru, trl or sol; got {kind!r}")
    wish = CalibrationWish(cast("CalibrationKind", kind), kit, uncertainty, kelvin(temperature), pairwise)
    with watched(quiet=as_json) as watcher:
        outcome = calibrate_array(bench, runs, watcher, PersonAtStandards(watcher), wish)
    folder = shlex.quote(str(outcome.folder / "calibration"))
    words = "coilbench sweep --pairwise" if pairwise else "coilbench sweep"
    finish(outcome, as_json=as_json, next_steps=(f"{words} --calibration {folder}",))
