"""Give faults to channels of simulated arrays and say how often the right channel and cause are named.

python benchmarks/channel_faults.py            100 scans of each fault and class of arrays, 1000 sound ones
python benchmarks/channel_faults.py --seeds 20 --healthy 100 --kind "drawn 4-8" measured
python benchmarks/channel_faults.py --json > faults.jsonl      one JSON object a scan

A scan is right when exactly the faulty channels are named, each with its cause; a healthy one when nothing
is. `faulty_scans` says which arrays there are, what differs between healthy scans and from which size on
faults are drawn. The exit code is 1 when fewer than 99 % of a fault's scans are right over all classes, or
more than 1 % of the healthy ones raise alarm.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faulty_scans import Answer, Question

# One thread for each process: the matrices are small.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
sys.path.insert(0, str(Path(__file__).parent))  # the parts live beside this file, not in a package

#: Smallest share of faulty scans that must be right, and largest of healthy ones that may not be.
REQUIRED: Final = 0.99
ALLOWED: Final = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a requirement is missed."""
    from faulty_scans import FAULTS, Question, kinds

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--kind", nargs="+", choices=kinds(), default=list(kinds()), help="classes of arrays")
    parser.add_argument("--seeds", type=int, default=100, help="scans of each fault in each class")
    parser.add_argument(
        "--healthy", type=int, default=1000, help="scans without a fault, all classes together"
    )
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", action="store_true", help="one JSON object a scan, no table")
    chosen = parser.parse_args(arguments)
    questions = [
        Question(fault, seed, kind)
        for fault in chosen.fault
        for kind in chosen.kind
        for seed in range(
            chosen.first,
            chosen.first + (chosen.healthy // len(chosen.kind) if fault == "healthy" else chosen.seeds),
        )
    ]
    answers = []
    for answer in ask(questions, chosen.processes):
        answers.append(answer)
        if chosen.json:
            print(json.dumps(asdict(answer) | {"right": answer.is_right}), flush=True)
    if not chosen.json:
        show(answers)
    return int(any(is_missed(fault, [a for a in answers if a.question.fault == fault]) for fault in FAULTS))


def ask(questions: Sequence[Question], processes: int) -> Iterable[Answer]:
    """Yield answers as they come, with progress on the terminal."""
    from faulty_scans import run
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if processes <= 1 or len(questions) <= 1:
        yield from track(map(run, questions), "scanning", len(questions), console=console)
        return
    with get_context("spawn").Pool(min(processes, len(questions))) as pool:
        answers = pool.imap_unordered(run, questions, chunksize=8)
        yield from track(answers, "scanning", len(questions), console=console)


def is_missed(fault: str, group: Sequence[Answer]) -> bool:
    """Tell whether a fault's scans miss what is required of them."""
    wrong = sum(not answer.is_right for answer in group)
    return wrong > len(group) * (ALLOWED if fault == "healthy" else 1 - REQUIRED)


def show(answers: Sequence[Answer]) -> None:
    """Print one row for each fault, right of all by class, then every scan that was judged wrong."""
    from faulty_scans import FAULTS, KINDS, SEVERITY
    from rich.console import Console
    from rich.table import Table

    shown = [kind for kind in KINDS if any(answer.question.kind == kind for answer in answers)]
    table = Table("fault", "drawn from dB", *shown, "right", "right %", "said instead")
    wrong = [answer for answer in answers if not answer.is_right]
    for fault in FAULTS:
        group = [answer for answer in answers if answer.question.fault == fault]
        if not group:
            continue
        size = "{:g} to {:g}".format(*SEVERITY[fault]) if fault in SEVERITY else ""
        instead = Counter(
            " ".join(sorted({cause for _, cause in answer.found})) or "nothing"
            for answer in wrong
            if answer.question.fault == fault
        )
        said = ", ".join(f"{words} ({count})" for words, count in instead.most_common())
        parts = [[answer for answer in group if answer.question.kind == kind] for kind in shown]
        right = sum(answer.is_right for answer in group)
        table.add_row(
            fault, size, *map(_right_of, parts), _right_of(group), f"{100 * right / len(group):.1f}", said
        )
    console = Console(width=150 if not sys.stdout.isatty() else None)
    console.print(table)
    for answer in sorted(wrong, key=lambda answer: (answer.question.fault, answer.question.seed))[:40]:
        question = answer.question
        console.print(
            f"{question.fault} seed {question.seed}, {question.kind}: {answer.channels} channels, faulty "
            f"{answer.faulty}, {answer.severity:.1f} dB: {'; '.join(answer.texts) or 'nothing found'}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _right_of(group: Sequence[Answer]) -> str:
    return f"{sum(answer.is_right for answer in group)}/{len(group)}"


if __name__ == "__main__":
    sys.exit(main())
