"""Tune many simulated arrays and say how often, how fast and at what cost it works.

python benchmarks/tuning/campaign.py --case nominal --seeds 200          our tuner
python benchmarks/tuning/campaign.py --tuner coordinate broyden          the peers, all cases that suit them
python benchmarks/tuning/campaign.py --wires --seeds 10                  through the simulated ZNBT and tuner
python benchmarks/tuning/campaign.py --case hard --json > hard.jsonl     one JSON object an array

"Tuned" means that the true |S_ii| of every port is below -20 dB at its own frequency; "reachable" that the
trimmers' travel allows it (`World.best_reflections`). Port-sweeps are ports times sweeps; moves are axes
moved between two sweeps; CPU is the tuner's own thinking, without the simulated world.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trial import Answer, Question

# One thread for each process: the matrices are small, and CPU seconds mean what they say.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
sys.path.insert(0, str(Path(__file__).parent))  # the parts live beside this file, not in a package

#: Ours with the array's drawing, ours without it, and the peers.
TUNERS: Final = ("model", "local", "coordinate", "broyden")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a limit was exceeded or an array was called tuned that is not."""
    from cases import CASES
    from trial import Question

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=["nominal", "unmodelled"])
    parser.add_argument("--tuner", nargs="+", choices=TUNERS, default=["model"])
    parser.add_argument("--seeds", type=int, default=20, help="arrays of each case")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--wires", action="store_true", help="over HiSLIP and TCP, not in memory")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", action="store_true", help="one JSON object an array, no table")
    parser.add_argument("--words", action="store_true", help="print what the tuner said of each failure")
    chosen = parser.parse_args(arguments)
    questions = [
        Question(case, tuner, seed, chosen.wires)
        for case in chosen.case
        for tuner in chosen.tuner
        for seed in range(chosen.first, chosen.first + chosen.seeds)
    ]
    answers = []
    for answer in ask(questions, chosen.processes):
        answers.append(answer)
        if chosen.json:
            judged = {"tuned": answer.is_tuned, "reachable": answer.is_reachable}
            print(json.dumps(asdict(answer) | judged), flush=True)
    if not chosen.json:
        answers.sort(key=lambda answer: questions.index(answer.question))
        show(answers, words=chosen.words)
    return int(any(answer.refused for answer in answers))


def ask(questions: Sequence[Question], processes: int) -> Iterable[Answer]:
    """Yield answers as they come, with progress on the terminal."""
    from rich.console import Console
    from rich.progress import track
    from trial import run

    console = Console(stderr=True)
    if processes <= 1 or len(questions) == 1:
        yield from track(map(run, questions), "tuning", len(questions), console=console)
        return
    with get_context("spawn").Pool(min(processes, len(questions))) as pool:
        answers = pool.imap_unordered(run, questions)
        yield from track(answers, "tuning", len(questions), console=console)


def show(answers: Sequence[Answer], *, words: bool) -> None:
    """Print one row for each case and tuner, then every array that went wrong."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "case",
        "tuner",
        "tuned / reachable",
        "ports ok",
        "port-sweeps",
        "moves",
        "CPU s",
        "worst dB",
        "wrong claims",
        "culprit named, innocent",
        "unreachable: named, helped",
        "limits exceeded",
    )
    groups: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.question.case, answer.question.tuner), []).append(answer)
    for (case, tuner), group in groups.items():
        table.add_row(case, tuner, *summary(group))
    console = Console(width=190 if not sys.stdout.isatty() else None)
    console.print(table)
    for answer in answers:
        if answer.error or answer.refused or _is_wrong(answer):
            console.print(describe(answer), highlight=False, markup=False)
            for reason in answer.reasons if words else ():
                console.print(f"    {reason}", highlight=False, markup=False)


def _is_wrong(answer: Answer) -> bool:
    """Tell whether a reachable array is not tuned, or something untrue or nothing useful was said."""
    missed = answer.is_reachable and not answer.is_tuned
    untrue = answer.claimed and not answer.is_tuned
    helpless = not answer.is_reachable and answer.question.tuner == "model" and not answer.helps
    unnamed = bool(answer.culprit) and answer.question.tuner == "model" and not answer.is_named
    return missed or untrue or helpless or unnamed or bool(answer.innocent)


def summary(group: Sequence[Answer]) -> list[str]:
    """Return a row's cells."""
    reachable = [answer for answer in group if answer.is_reachable]
    beyond = [answer for answer in group if not answer.is_reachable]
    broken = [answer for answer in group if answer.culprit]
    alive = [answer for answer in group if not answer.error] or list(group)
    tuned = sum(answer.is_tuned for answer in reachable)
    return [
        f"{tuned}/{len(reachable)}",
        f"{sum(one.ports_ok for one in reachable)}/{sum(one.ports for one in reachable)}",
        spread([one.port_sweeps for one in alive]),
        spread([one.moves for one in alive]),
        f"{_quantile([one.cpu for one in alive], 0.5):.2f}, most {max(one.cpu for one in alive):.2f}",
        f"{_quantile([one.worst_db for one in reachable], 0.5):.1f}" if reachable else "-",
        str(sum(one.claimed and not one.is_tuned for one in group)),
        f"{sum(one.is_named for one in broken)}/{len(broken)}, {sum(len(one.innocent) for one in group)}",
        f"{sum(not one.claimed for one in beyond)}, {sum(one.helps for one in beyond)} of {len(beyond)}",
        str(sum(one.refused for one in group)),
    ]


def spread(values: Sequence[float]) -> str:
    """Return median and 10 to 90 %."""
    return f"{_quantile(values, 0.5):.0f} [{_quantile(values, 0.1):.0f}..{_quantile(values, 0.9):.0f}]"


def _quantile(values: Sequence[float], part: float) -> float:
    import numpy as np

    return float(np.quantile(values, part))


def describe(answer: Answer) -> str:
    """Return one line about an array that went wrong."""
    question = answer.question
    what = answer.error or (
        f"{answer.ports_ok}/{answer.ports} ports, worst {answer.worst_db:.1f} dB, "
        f"best possible {answer.best_db:.1f} dB"
    )
    said = "said tuned" if answer.claimed else "said not tuned"
    culprit = (
        f", broken {answer.culprit} {'named' if answer.is_named else 'not named'}" if answer.culprit else ""
    )
    advice = (
        f", advice {'helps' if answer.helps else 'does not help'}: "
        + ", ".join(f"{part} {change:+.3g}" for part, change in answer.advice)
        if answer.advice
        else ""
    )
    return f"{question.case} {question.tuner} seed {question.seed}: {what}; {said}{culprit}{advice}"


if __name__ == "__main__":
    raise SystemExit(main())
