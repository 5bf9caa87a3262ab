"""What the other nucleus's ports do to the scanned one: isolation by the sweep, SNR by two states of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

from coilbench.array_plans import character_plan
from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Judged, judge
from coilbench.procedures.qc import read_quality
from coilbench.quantities import COVERAGE_FACTOR, Quantity, finite
from coilbench.reanalysis import stored_character
from recon.cross_nucleus import port_effect

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.stored_run import StoredRun
    from recon.fingerprint import ArrayFingerprint


class _Source(TypedDict):
    """What computed a quantity."""

    algorithm: str
    version: str


#: Of 20 log10(amplitude): 20 / ln(10).
_DECIBEL: Final = 8.685889638
#: Names and counts what computes the quantities here.
_ALGORITHM: Final[_Source] = {"algorithm": "cross-nucleus check", "version": "1"}


@dataclass(frozen=True, slots=True)
class CrossNucleusCheck:
    """Numbers of the check, their verdicts, and what could not be measured."""

    quantities: tuple[Quantity, ...]
    judged: tuple[Judged, ...]
    statements: tuple[str, ...]


def check_cross_nucleus(
    run: StoredRun, fingerprint: ArrayFingerprint, other_ports: Path | None = None, /
) -> CrossNucleusCheck:
    """Check the scanned nucleus against the other one's ports.

    Parameters
    ----------
    run
        The stored run; its bench file states the limits.
    fingerprint
        Of its scan.
    other_ports
        Run folder of the same coil and phantom, not moved in between, with the other nucleus's ports in
        another state (terminated, open, detuned); None: there is none.

    Raises
    ------
    BenchFileError, MeasurementError
        The run named in ``other_ports`` cannot be read, or is of other channels.
    """
    scanned = run.file.scan.nucleus
    others = [name for name in run.file.array.nuclei if name != scanned]
    if not others:
        return CrossNucleusCheck(
            (), (), (f"not measured: cross-nucleus check: the coil has {scanned} alone",)
        )
    named = " and ".join(others)
    quantities: list[Quantity] = []
    judged: list[Judged] = []
    missing: list[str] = []
    try:
        found, worst = _isolation(run, named)
        quantities += found
        judged.append(worst)
    except MeasurementError as error:
        missing.append(f"not measured: isolation from the {named} ports: {error}")
    if other_ports is None:
        missing.append(
            f"not measured: what the state of the {named} ports does to the SNR of {scanned}: scan again "
            "with them in another state (open, detuned), nothing moved, and give that run with --other-ports"
        )
    else:
        judged += _effect(run, fingerprint, other_ports, named)
    return CrossNucleusCheck(tuple(quantities), tuple(judged), tuple(missing))


def _isolation(run: StoredRun, named: str) -> tuple[list[Quantity], Judged]:
    """Return |S| from each receiving port to the worst of the other nuclei's at the scanned frequency, in dB.

    Raises
    ------
    MeasurementError
        The run holds no sweep of its coil.
    """
    character = stored_character(run)
    group = next(one for one in character.nuclei if one.nucleus == run.file.scan.nucleus)
    levels = np.maximum(group.isolation, 1e-6)
    # the plan's uncertainty is the expanded one of |S|; relative to a small |S| it is large
    spreads = _DECIBEL * character_plan(run.file).uncertainty / COVERAGE_FACTOR / levels
    decibels = 20 * np.log10(levels)
    name = f"isolation from the {named} ports"
    quantities = [
        Quantity(name, float(level), "dB", float(spread), place=f"channel {number}", **_ALGORITHM)
        for number, (level, spread) in enumerate(zip(decibels, spreads, strict=True), start=1)
    ]
    worst = int(np.argmax(decibels))  # one name in every run, whichever channel it is: that is charted
    verdict = judge(
        f"worst {name}",
        float(decibels[worst]),
        "dB",
        uncertainty=COVERAGE_FACTOR * float(spreads[worst]),
        at_most=run.file.limits.isolation_db,
    )
    return quantities, verdict


def _effect(run: StoredRun, now: ArrayFingerprint, other_ports: Path, named: str) -> list[Judged]:
    """Judge each channel's SNR with the other ports in another state against that of this run."""
    then = read_quality(other_ports)
    if then.fingerprint.signal.shape != now.signal.shape:
        raise MeasurementError(
            f"{other_ports} is of {then.fingerprint.signal.shape} channels and regions, this run of "
            f"{now.signal.shape}: the same coil, phantom and matrix are compared"
        )
    effect = port_effect(now, then.fingerprint)
    limits = run.file.qc
    judged = []
    for number, (change, spread) in enumerate(
        zip(effect.snr_db, effect.uncertainty_db, strict=True), start=1
    ):
        if finite(float(change)) is None:
            continue
        ratio = 10 ** (float(change) / 20)
        judged.append(
            judge(
                f"SNR change by the {named} ports' state (channel {number})",
                100 * abs(ratio - 1),
                "%",
                uncertainty=100 * ratio * COVERAGE_FACTOR * float(spread) / _DECIBEL,
                at_most=100 * limits.snr_fail,
                warn_at=100 * limits.snr_warn,
            )
        )
    return judged
