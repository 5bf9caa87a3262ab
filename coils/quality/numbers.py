"""A record's numbers by name: all of them for comparison, the worst of each kind for verdict and trend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coilbench.base.verdict import Judged, Verdict, judge
from coils.quality.judgement import decibels
from coils.quality.loading import Reading
from coils.quality.record import as_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from coils.quality.limits import Limits
    from coils.quality.record import CoilRecord, NucleusRecord


@dataclass(frozen=True, slots=True)
class Quantity:
    """A named number of a record.

    Parameters
    ----------
    name
        Unique within a record; the same in every record of the coil.
    unit
        As tables show it.
    reading
        Value and expanded uncertainty.
    """

    name: str
    unit: str
    reading: Reading


def every_number(record: CoilRecord, /) -> tuple[Quantity, ...]:
    """Return every measured number of a record that has an uncertainty, channels counted from 1.

    S-parameters are linear magnitudes: their uncertainty is nearly the same for all, in dB it is not.
    """
    return tuple(
        quantity for nucleus in record.nuclei for quantity in _numbers(nucleus, record.s_uncertainty)
    )


def _numbers(nucleus: NucleusRecord, s_uncertainty: float) -> Iterator[Quantity]:
    """Yield one nucleus' numbers."""
    name = nucleus.nucleus
    yield from _levels(nucleus, s_uncertainty)
    for channel, fit in enumerate(nucleus.resonances or (), start=1):
        if fit is not None:
            yield Quantity(f"{name} resonance ch {channel}", "Hz", fit.frequency)
            yield Quantity(f"{name} QL ch {channel}", "", fit.q_loaded)
            yield Quantity(f"{name} Q0 ch {channel}", "", fit.q_unloaded)
    for what, unit, readings in _at_least(nucleus):
        for channel, reading in enumerate(readings, start=1):
            if reading is not None:
                yield Quantity(f"{name} {what} ch {channel}", unit, reading)


def _levels(nucleus: NucleusRecord, s_uncertainty: float) -> Iterator[Quantity]:
    """Yield the magnitudes of one nucleus' S-parameters."""
    name = nucleus.nucleus
    if nucleus.scattering is not None:
        size = np.abs(as_array(nucleus.scattering))
        for first, second in zip(*np.triu_indices(len(size)), strict=True):
            value = float(max(size[first, second], size[second, first]))
            what = f"ch {first + 1}" if first == second else f"ch {first + 1}-{second + 1}"
            if math.isfinite(value):
                yield Quantity(f"{name} |S| {what}", "", Reading(value, s_uncertainty))
    for channel, level in enumerate(nucleus.isolation or (), start=1):
        if math.isfinite(level):
            yield Quantity(f"{name} isolation |S| ch {channel}", "", Reading(level, s_uncertainty))


def headline_numbers(nucleus: NucleusRecord, s_uncertainty: float, /) -> tuple[Quantity, ...]:
    """Return the worst of each kind that was measured, for a trend over the years.

    Parameters
    ----------
    s_uncertainty
        Expanded uncertainty of each |S|, linear.
    """
    found: list[Quantity] = []
    if nucleus.scattering is not None:
        size = np.abs(as_array(nucleus.scattering))
        own = np.eye(len(size), dtype=np.bool_)
        found.append(_worst_level("worst reflection", size[own], s_uncertainty))
        if len(size) > 1:
            found.append(_worst_level("largest coupling", size[~own], s_uncertainty))
    if nucleus.isolation is not None and any(nucleus.isolation):
        found.append(_worst_level("worst isolation", np.array(nucleus.isolation), s_uncertainty))
    if nucleus.noise_correlation is not None and len(nucleus.ports) > 1:
        rho = np.abs(as_array(nucleus.noise_correlation))
        largest = float(np.max(rho[~np.eye(len(rho), dtype=np.bool_)]))
        found.append(Quantity("largest predicted noise correlation", "", Reading(largest)))
    fits = [fit.q_loaded.value for fit in nucleus.resonances or () if fit is not None]
    if fits:
        found.append(Quantity("median QL", "", Reading(float(np.median(fits)))))
    for name, unit, readings in _at_least(nucleus):
        measured = [reading for reading in readings if reading is not None]
        if measured:
            found.append(Quantity(f"smallest {name}", unit, min(measured, key=lambda each: each.value)))
    if nucleus.share_of_ultimate is not None:
        found.append(Quantity("share of the ultimate SNR", "", nucleus.share_of_ultimate))
    return tuple(entry for entry in found if math.isfinite(entry.reading.value))


def judge_readings(nucleus: NucleusRecord, limits: Limits, /) -> tuple[Judged, ...]:
    """Judge Q ratio, detuning and preamplifier decoupling of a nucleus where they were measured.

    Returns
    -------
    One judged quantity for each kind: the worst channel. A channel without a statement makes its kind
    inconclusive, unless another one fails.
    """
    allowed = {
        "QU/QL": limits.q_ratio,
        "detuning": limits.detuning_db,
        "preamplifier decoupling": limits.preamplifier_decoupling_db,
    }
    return tuple(
        _judge_smallest(f"{nucleus.nucleus} smallest {name}", unit, readings, limit)
        for name, unit, readings in _at_least(nucleus)
        if (limit := allowed[name]) is not None
    )


def _at_least(
    nucleus: NucleusRecord,
) -> Iterator[tuple[str, str, Sequence[Reading | None]]]:
    """Yield what must not be too small: name, unit, one reading for each channel."""
    if nucleus.loadings is not None:
        ratios = [None if loading is None else loading.ratio for loading in nucleus.loadings]
        yield "QU/QL", "", ratios
    if nucleus.detuning_db is not None:
        yield "detuning", "dB", nucleus.detuning_db
    if nucleus.preamplifier_decoupling_db is not None:
        yield "preamplifier decoupling", "dB", nucleus.preamplifier_decoupling_db


def _judge_smallest(name: str, unit: str, readings: Sequence[Reading | None], limit: float) -> Judged:
    """Judge the channel that is worst; those without a reading leave at best no verdict."""
    judged = [
        judge(f"{name} (ch {channel})", reading.value, unit, uncertainty=reading.uncertainty, at_least=limit)
        for channel, reading in enumerate(readings, start=1)
        if reading is not None
    ]
    missing = [str(channel) for channel, reading in enumerate(readings, start=1) if reading is None]
    failed = [each for each in judged if each.verdict is Verdict.FAIL]
    if missing and not failed:
        said = f"{name} (ch {', '.join(missing)} not measured)"
        return Judged(said, math.nan, unit, None, f"≥ {limit:g} {unit}".strip(), Verdict.INCONCLUSIVE)
    # the smallest value may pass while one with a larger uncertainty does not
    return min(judged, key=lambda each: each.value - (each.uncertainty or 0.0))


def _worst_level(name: str, sizes: NDArray[np.float64], uncertainty: float) -> Quantity:
    """Return the largest magnitude in dB with the upper half of its interval; nan if one is missing."""
    largest = float(np.max(sizes))
    if not math.isfinite(largest) or largest <= 0.0:
        return Quantity(name, "dB", Reading(math.nan))
    value = decibels(largest)
    return Quantity(name, "dB", Reading(value, decibels(largest + uncertainty) - value))
