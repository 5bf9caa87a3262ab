"""From a bench file to how its array is tuned, characterised and judged; the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coilbench.array_drawing import drawn_array
from coilbench.base.errors import BenchFileError
from coilbench.procedures.characterise import CharacterisePlan
from coilbench.procedures.tune import TunePlan, nucleus_ports
from coils.quality import Limits
from coils.tuning.kept import belief_from
from coils.tuning.local_state import TuningGoal

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def tune_plan(
    file: BenchFile, /, *, kept: Mapping[str, Any] | None = None, check_motors: bool = False
) -> TunePlan:
    """Return how the array of a bench file is tuned.

    Parameters
    ----------
    kept
        What an earlier tuning of this array left (`coils.tuning.kept`).
    check_motors
        Probe and home all axes at the end, and name motors that stand still or lose steps.

    Raises
    ------
    BenchFileError
        Something was kept or motors shall be checked, and the bench file has no drawing of the array, or
        another one.
    """
    limit_db, sweep = file.limits.s11_db, file.sweep
    design = drawn_array(file)
    if design is None and (kept is not None or check_motors):
        raise BenchFileError(
            "this needs [array.drawing] in the bench file: what the array was built to, so that sweeps tell "
            "what its trimmers do"
        )
    try:
        belief = None if kept is None or design is None else belief_from(design, kept)
    except ValueError as error:
        raise BenchFileError(f"the earlier tuning cannot be used: {error}") from error
    return TunePlan(
        nucleus_ports(file),
        TuningGoal(limit_db=limit_db, aim_db=limit_db - MARGIN_DB),
        design,
        belief,
        check_motors,
        span=sweep.span,
        points=sweep.points,
        if_bandwidth=sweep.if_bandwidth,
        power_dbm=sweep.sweep_power_dbm,
    )
