"""From a bench file to how its array is tuned, characterised and judged; the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coilbench.procedures.characterise import CharacterisePlan
from coilbench.procedures.tune import TunePlan, nucleus_ports
from coils.quality import Limits
from coils.tuning.local_state import TuningGoal

if TYPE_CHECKING:
    from coilbench.bench_file import BenchFile

#: Tuning and matching go on to this far below the limit, as a margin for drift and noise, dB.
MARGIN_DB: Final = 6.0


def coil_limits(file: BenchFile, /) -> Limits:
    """Return the limits that a bench file sets for its array."""
    limits = file.limits
    return Limits(
        reflection_db=limits.s11_db,
        coupling_db=limits.coupling_db,
        isolation_db=limits.isolation_db,
        q_ratio=limits.q_ratio,
        detuning_db=limits.detuning_db,
        preamplifier_decoupling_db=limits.preamplifier_decoupling_db,
    )


def character_plan(file: BenchFile, /) -> CharacterisePlan:
    """Return how the array of a bench file is characterised."""
    return CharacterisePlan(
        nucleus_ports(file),
        coil_limits(file),
        noise_figure_db=file.array.preamplifier_noise_figure_db,
        temperature=file.array.temperature,
        points=file.sweep.points,
        if_bandwidth=file.sweep.if_bandwidth,
        power_dbm=file.sweep.sweep_power_dbm,
    )


def tune_plan(file: BenchFile, /) -> TunePlan:
    """Return how the array of a bench file is tuned."""
    limit_db, sweep = file.limits.s11_db, file.sweep
    return TunePlan(
        nucleus_ports(file),
        TuningGoal(limit_db=limit_db, aim_db=limit_db - MARGIN_DB),
        span=sweep.span,
        points=sweep.points,
        if_bandwidth=sweep.if_bandwidth,
        power_dbm=sweep.sweep_power_dbm,
    )
