"""How long each trend rule takes to signal: simulated, beside an exact calculation and published numbers.

python benchmarks/run_lengths.py                     10 000 series of each rule and shift, some seconds
python benchmarks/run_lengths.py --series 1000 --json

Shift 0 is a sound scanner: runs between false alarms (ARL0). Shift 1 is a change by one deviation of the
baseline: runs until it is seen. The exact numbers come from Markov chains that share no code with the rules.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import ndtr

from recon.trend import RULES, run_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Average run lengths in print, at shift 0 and 1, and where; the EWMA's with limits that do not widen.
PUBLISHED: dict[str, tuple[float, float, str]] = {
    "Shewhart": (
        370.4,
        43.9,
        "Montgomery, Introduction to Statistical Quality Control, chapter 5",
    ),
    "EWMA": (500.0, 10.5, "Lucas, Saccucci, Technometrics 32:1 (1990), table 3"),
    "CUSUM": (465.0, 10.4, "Lucas, Crosier, Technometrics 24:199 (1982)"),
}


def exact(rule: str, shift: float) -> float:
    """Return a rule's average run length on independent normal values, from its Markov chain."""
    if rule == "Shewhart":
        return float(1 / (ndtr(-3 - shift) + ndtr(-3 + shift)))
    if rule == "EWMA":
        return _ewma(shift, weight=0.2, limit=2.962)
    if rule == "CUSUM":
        # two one-sided schemes together: rates add (van Dobben de Bruyn, Cumulative Sum Tests, 1968)
        return 1 / (1 / _cusum(shift) + 1 / _cusum(-shift))
    return _westgard(shift)


def _mean_steps(stay: NDArray[np.float64], start: NDArray[np.float64]) -> float:
    """Return the mean number of steps until a chain leaves; ``stay`` is (from, to)."""
    return float(start @ np.linalg.solve(np.eye(len(stay)) - stay, np.ones(len(stay))))


def _cusum(shift: float, slack: float = 0.5, limit: float = 5.0, states: int = 400) -> float:
    """Brook, Evans, Biometrika 59:539 (1972): states 0, w, 2w... below the limit."""
    width = 2 * limit / (2 * states - 1)
    step = (np.arange(states)[None] - np.arange(states)[:, None]) * width + slack - shift
    stay = ndtr(step + width / 2) - ndtr(step - width / 2)
    stay[:, 0] = ndtr(step[:, 0] + width / 2)
    return _mean_steps(stay, np.eye(states)[0])


def _ewma(shift: float, weight: float, limit: float, states: int = 801) -> float:
    """Return the run length with limits that widen from run to run as the mean's own deviation does."""
    end = limit * np.sqrt(weight / (2 - weight))
    width = 2 * end / states
    places = (np.arange(states) - states // 2) * width
    step = (places[None] - (1 - weight) * places[:, None]) / weight - shift
    stay = ndtr(step + width / 2 / weight) - ndtr(step - width / 2 / weight)
    alive, mean = np.eye(states)[states // 2], 0.0
    for run in range(1, 81):
        mean += float(alive.sum())
        alive = alive @ stay
        alive[np.abs(places) > end * np.sqrt(1 - (1 - weight) ** (2 * run))] = 0.0
    return mean + _mean_steps(stay, alive)


def _westgard(shift: float) -> float:
    """Return the run length of 1-3s, 2-2s, R-4s, 4-1s and 10-x together.

    A state is (side of the mean, runs on it, of these running beyond 1, whether the last was beyond 2).
    """
    states = [
        (side, runs, beyond, last)
        for side, runs, beyond, last in product((-1, 1), range(1, 10), range(4), (False, True))
        if beyond <= runs and (beyond or not last)
    ]
    number = {state: index for index, state in enumerate(states)}
    zones = np.array([0.0, 1.0, 2.0, 3.0])
    chance = {
        (side, zone): float(np.diff(ndtr(zones[zone : zone + 2] - side * shift))[0])
        for side, zone in product((-1, 1), range(3))
    }

    def follow(state: tuple[int, int, int, bool] | None, side: int, zone: int) -> int | None:
        """Return the next state's number, None where a rule signals."""
        runs, beyond, last = (state[1], state[2], state[3]) if state else (0, 0, False)
        same = state is not None and state[0] == side
        if zone == 2 and last:
            return None
        runs = runs + 1 if same else 1
        beyond = 0 if zone == 0 else (beyond + 1 if same else 1)
        return None if runs == 10 or beyond == 4 else number[side, runs, beyond, zone == 2]

    stay, start = np.zeros((len(states), len(states))), np.zeros(len(states))
    for (side, zone), p in chance.items():
        first = follow(None, side, zone)
        if first is not None:
            start[first] += p
        for state, index in number.items():
            after = follow(state, side, zone)
            if after is not None:
                stay[index, after] += p
    return 1.0 + _mean_steps(stay, start)


def main() -> None:
    """Print every rule at both shifts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    table = Table("rule", "shift", "simulated ± (95 %)", "exact", "published", "source")
    for rule, (index, shift) in product(RULES, enumerate((0.0, 1.0))):
        found = run_length(rule, shift=shift, series=wanted.series, longest=8000, seed=11)
        truth, (*printed, source) = exact(rule, shift), PUBLISHED.get(rule, (None, None, ""))
        published = printed[index]
        if wanted.json:
            row = {
                "rule": rule,
                "shift": shift,
                "simulated": found.mean,
                "expanded_uncertainty": 2 * found.uncertainty,
                "exact": truth,
                "published": published,
                "source": source,
            }
            print(json.dumps(row))
        said = f"{found.mean:.1f} ± {2 * found.uncertainty:.1f}"
        printed_there = "" if published is None else f"{published:g}"
        table.add_row(rule, f"{shift:g}", said, f"{truth:.1f}", printed_there, str(source))
    if not wanted.json:
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
