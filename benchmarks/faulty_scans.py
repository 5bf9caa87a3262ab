"""Scans of sound and faulty arrays, for judging who finds which fault in which kind of array.

Classes of arrays: loops soldered equal and decoupled (4 to 16), arrays drawn at random (4 to 8, 9 to 16 and
17 to 32 loops; each block of 1000 seeds has 20 a class of its own), and a real scan of 16 channels where its
data are at hand. `phantom_arrays` and `compared_scans` say what differs between sound scans of an array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from compared_scans import Change, MeasuredScans, SimulatedScans
from phantom_arrays import DrawnArray, SolderedArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

Fault = Literal["healthy", "dead", "noisy", "swapped", "sign-flipped", "mis-scaled", "detuned"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
Kind = Literal["soldered", "drawn 4-8", "drawn 9-16", "drawn 17-32", "measured"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: What is drawn for each fault in dB, from the detectable size on: how far noise, gain or signal change.
SEVERITY: Final[dict[str, tuple[float, float]]] = {
    "dead": (-3.0, 20.0),  # noise below that of a sound channel
    "noisy": (3.0, 12.0),
    "mis-scaled": (3.0, 12.0),
    "detuned": (6.0, 12.0),
}
#: Loops of the soldered arrays, and fewest and most of the drawn ones.
_SOLDERED: Final = (4, 6, 8, 8, 12, 16)
_DRAWN: Final[dict[str, tuple[int, int]]] = {
    "drawn 4-8": (4, 8),
    "drawn 9-16": (9, 16),
    "drawn 17-32": (17, 32),
}
#: Drawn arrays of each class in a block of 1000 seeds.
_POOL: Final = 20
#: Most of its signal that a dead channel still picks up from its neighbours: -26 dB.
_LEAK: Final = 0.05
#: The real scan, beside a checkout like all real measurements.
MEASURED: Final = Path(__file__).parents[2] / "shared" / "data" / "kspace_16ch" / "kspace16ch.npz"


@dataclass(frozen=True, slots=True)
class Question:
    """One scan: which seed, what is wrong with the array, and of which class it is."""

    fault: Fault
    seed: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of one scan.

    Parameters
    ----------
    question
        The scan.
    channels
        Of the array.
    faulty
        Channels that have the fault, counted from 1.
    severity
        dB; 0 where a fault has no size.
    found
        Channel and cause of every finding.
    texts
        The findings in words.
    """

    question: Question
    channels: int
    faulty: tuple[int, ...]
    severity: float
    found: tuple[tuple[int, str], ...]
    texts: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether exactly the faulty channels were named, with the right cause."""
        return set(self.found) == {(channel, self.question.fault) for channel in self.faulty}


def kinds() -> tuple[Kind, ...]:
    """Return the classes that can be asked here: the measured one needs its data."""
    return KINDS if MEASURED.is_file() else KINDS[:-1]


def run(question: Question) -> Answer:
    """Scan one array of the class, sound and with the fault, and judge the second by the first."""
    random = np.random.default_rng([question.seed, FAULTS.index(question.fault)])
    scans = _scans(question.kind, question.seed // 1000, int(random.integers(_POOL)))
    levels = 10 ** (scans.baseline.noise_level_db / 20)
    faulty, severity, change = _draw_fault(question.fault, levels, random)
    health = scans.judge(random, change)
    return Answer(
        question,
        scans.channels,
        faulty,
        severity,
        tuple((finding.channel, finding.cause) for finding in health.findings),
        tuple(finding.text for finding in health.findings),
    )


def _draw_fault(
    fault: Fault, levels: NDArray[np.float64], random: np.random.Generator
) -> tuple[tuple[int, ...], float, Change]:
    """Return faulty channels, size in dB, and what it does to the samples.

    The sound noise's ``levels`` tell the amplifiers' gains: half of the exchanged cables are before them.
    """
    channels = len(levels)
    mixing, own = np.eye(channels, dtype=np.complex128), np.zeros(channels)
    one, other = (int(index) for index in random.choice(channels, 2, replace=False))
    size = float(random.uniform(*SEVERITY[fault])) if fault in SEVERITY else 0.0
    if fault == "healthy":
        return (), 0.0, Change(mixing, own)
    if fault == "swapped":
        mixing[[one, other]] = mixing[[other, one]]
        if random.random() < 0.5:
            mixing[one] *= levels[one] / levels[other]
            mixing[other] *= levels[other] / levels[one]
        return (one + 1, other + 1), size, Change(mixing, own)
    if fault == "sign-flipped":
        mixing[one, one] = -1.0
    elif fault == "mis-scaled":
        mixing[one, one] = 10 ** (float(random.choice([-size, size])) / 20)
    elif fault == "noisy":
        own[one] = np.sqrt(10 ** (size / 10) - 1)
    elif fault == "dead":
        nothing = random.random() < 0.1
        mixing[one, one] = 0.0 if nothing else _LEAK * random.random()
        own[one] = 0.0 if nothing else 10 ** (-size / 20)
    else:  # detuned: the coil's share falls, a mismatched port hands on as much noise of its own
        mixing[one, one] = 10 ** (-size / 20)
        own[one] = np.sqrt(1 - 10 ** (-size / 10))
    return (one + 1,), size, Change(mixing, own)


@lru_cache(maxsize=3 * _POOL + len(_SOLDERED) + 1)
def _scans(kind: Kind, block: int, number: int) -> SimulatedScans | MeasuredScans:
    if kind == "measured":
        return _measured()
    if kind == "soldered":
        return _soldered(number % len(_SOLDERED))
    random = np.random.default_rng([block, KINDS.index(kind), number])
    fewest, most = _DRAWN[kind]
    array = DrawnArray(int(random.integers(fewest, most + 1)), random)
    return SimulatedScans(array, float(np.exp(random.uniform(np.log(10), np.log(40)))), random)


@lru_cache(maxsize=1)
def _measured() -> MeasuredScans:
    return MeasuredScans(MEASURED)


@lru_cache(maxsize=len(_SOLDERED))
def _soldered(number: int) -> SimulatedScans:
    return SimulatedScans(
        SolderedArray(_SOLDERED[number], number), 20.0, np.random.default_rng([number, 999])
    )
