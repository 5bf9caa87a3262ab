"""Quality control of data that no run of ours made: DICOM or NIfTI images, raw data with a noise scan.

The same words and limits as for a run, as far as the data go; what they lack is said. Changes are judged
against other data of the same phantom and protocol, where such a baseline is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.base.events import Event, EventSink, ignore
from coilbench.base.verdict import Judged, Verdict, judge, overall
from coilbench.foreign_numbers import channel_quantities, measure_scene
from coilbench.foreign_scene import ReceivedScan, Scene, read_scene
from coilbench.procedures.qc import QualityBaseline, judge_channels
from coilbench.quantities import COVERAGE_FACTOR, Quantity, quantities_of_judged
from recon.fingerprint import array_fingerprint, coarse_regions
from recon.foreign import OBJECT_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from coilbench.qc_limits import QualityLimits
    from recon.channel_health import ArrayHealth
    from recon.fingerprint import ArrayFingerprint


@dataclass(frozen=True, slots=True, eq=False)
class ForeignQuality:
    """What quality control says of foreign data.

    Parameters
    ----------
    scene
        What was looked at.
    baseline
        Name of the data it was held against; None where none was named.
    quantities
        Numbers with their verdicts.
    judged
        Those with a limit.
    fingerprint
        Of the channels, of raw data.
    health
        Against the baseline; None where there is none.
    statements
        Lines for a person: faults first, then what could not be measured.
    """

    scene: Scene
    baseline: str | None
    quantities: tuple[Quantity, ...]
    judged: tuple[Judged, ...]
    fingerprint: ArrayFingerprint | None
    health: ArrayHealth | None
    statements: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all; inconclusive where nothing had a limit."""
        return overall(self.judged)

    def lines(self) -> tuple[str, ...]:
        """Return what stands under the table: faults, numbers without a limit, what is lacking."""
        plain = (_line(one) for one in self.quantities if one.verdict is None and not one.place)
        return (*self.statements, *plain, *self.scene.notes)

    def figure(self) -> Figure:
        """Return the picture of the slice with the object's outline."""
        from coilbench.report.foreign_page import outline_figure

        return outline_figure(self.scene)

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "schema": 1,
            "name": self.scene.name,
            "baseline": self.baseline,
            "verdict": str(self.verdict),
            "judged": list(self.judged),
            "quantities": list(self.quantities),
            "findings": [] if self.health is None else list(self.health.findings),
            "statements": list(self.statements),
            "slice": self.scene.slice_number + 1,
            "notes": "; ".join(self.scene.notes),
        }


def foreign_quality(
    paths: Sequence[Path],
    limits: QualityLimits,
    baseline: Path | None = None,
    on_event: EventSink = ignore,
    /,
    *,
    field_of_view: float | None = None,
) -> ForeignQuality:
    """Control the quality of foreign data.

    Parameters
    ----------
    paths
        One or two repeated images (DICOM, NIfTI), or one file of raw data with a noise scan.
    limits
        Which set judges.
    baseline
        Data of the same kind, phantom and protocol to compare with.
    field_of_view
        In m along every axis, of raw data whose file does not say it.

    Raises
    ------
    BenchFileError
        A file is missing or of no supported kind.
    MeasurementError
        No phantom can be told from the background, raw data hold no noise scan, or the baseline has another
        matrix or other channels.
    """
    on_event(Event("step", "Quality control"))
    scene = read_scene(paths, field_of_view)
    found, missing = measure_scene(scene)
    before = None if baseline is None else read_scene((baseline,), field_of_view)
    if before is not None and (before.grid.shape, before.received is None) != (
        scene.grid.shape,
        scene.received is None,
    ):
        raise MeasurementError(
            f"the baseline {before.name} holds {before.grid.shape} voxels, {scene.name} {scene.grid.shape}: "
            "a baseline is of the same kind, phantom and protocol"
        )
    judged = list(_judge(found, limits))
    if before is not None:
        judged += _changes(found, {one.name: one for one in measure_scene(before)[0]}, limits)
    else:
        missing.append("no baseline: changes are not judged; --baseline names earlier data to compare with")
    fingerprint = health = None
    faults: list[str] = []
    if scene.received is not None:
        faults += scene.received.faults
        judged.append(judge("channels with a noise fault", len(faults), "", at_most=0))
        regions = coarse_regions(_object(before or scene))
        fingerprint = _fingerprint(scene.received, regions)
        found += channel_quantities(scene.received)
        if before is not None and before.received is not None:
            earlier = QualityBaseline(before.name, _fingerprint(before.received, regions), {})
            health, changes = judge_channels(fingerprint, earlier, limits)
            faults += [one.text for one in health.findings]
            judged += changes
    verdicts = quantities_of_judged(judged, algorithm="quality control", version=f"1, {limits.name}")
    return ForeignQuality(
        scene=scene,
        baseline=None if before is None else before.name,
        quantities=(*found, *verdicts),
        judged=tuple(judged),
        fingerprint=fingerprint,
        health=health,
        statements=(*faults, *missing),
    )


def limits_of(bench: Path | None, /) -> QualityLimits:
    """Return the limits of a bench file, or the default ones.

    Raises
    ------
    BenchFileError
        The file cannot be read or holds mistakes.
    """
    from coilbench.bench_file import read_bench_file
    from coilbench.qc_limits import QualityLimits

    return QualityLimits() if bench is None else read_bench_file(bench).qc


def _judge(found: Sequence[Quantity], limits: QualityLimits) -> list[Judged]:
    """Judge what has a limit without any baseline."""
    bounds = {"signal ghosting": {"at_most": limits.ghosting_fail, "warn_at": limits.ghosting_warn}}
    if limits.uniformity_minimum is not None:
        bounds["uniformity, noise-corrected"] = {"at_least": limits.uniformity_minimum}
    return [
        judge(one.name, one.value, one.unit, uncertainty=_expanded(one), **bounds[one.name])
        for one in found
        if one.value is not None and one.name in bounds
    ]


def _changes(found: Sequence[Quantity], before: dict[str, Quantity], limits: QualityLimits) -> list[Judged]:
    """Judge what has changed since the baseline, with the uncertainties of both."""
    kinds: dict[str, tuple[float, float, Callable[[float, float], float], str]] = {
        "uniformity, noise-corrected": (
            limits.uniformity_warn, limits.uniformity_fail, lambda a, b: abs(a - b), "%",
        ),
        "SNR": (
            100 * limits.snr_warn, 100 * limits.snr_fail, lambda a, b: 100 * abs(a / b - 1), "%",
        ),
        "streak ratio": (limits.streaks_warn, limits.streaks_fail, lambda a, b: a - b, ""),
    }  # fmt: skip
    for axis in ("columns", "rows"):
        kinds[f"extent along {axis}"] = (
            1e3 * limits.diameter_warn, 1e3 * limits.diameter_fail, lambda a, b: abs(a - b), "mm",
        )  # fmt: skip
    judged = []
    for one in found:
        earlier = before.get(one.name)
        if one.name not in kinds or one.value is None or earlier is None or earlier.value is None:
            continue
        warn, fail, change, unit = kinds[one.name]
        spread = float(np.hypot(_expanded(one) or 0.0, _expanded(earlier) or 0.0))
        if one.name == "SNR":
            spread *= 100 / earlier.value
        judged.append(
            judge(
                f"{one.name}, change",
                change(one.value, earlier.value),
                unit,
                uncertainty=spread,
                at_most=fail,
                warn_at=warn,
            )
        )
    return judged


def _object(scene: Scene) -> NDArray[np.bool_]:
    return np.asarray(scene.image > OBJECT_THRESHOLD * scene.image.max(), dtype=np.bool_)


def _fingerprint(received: ReceivedScan, regions: NDArray[np.int64]) -> ArrayFingerprint:
    return array_fingerprint(
        received.images,
        received.noise,
        regions,
        noise_gain=received.noise_gain,
        independent_fraction=received.independent_fraction,
    )


def _expanded(one: Quantity) -> float | None:
    return None if one.uncertainty is None else COVERAGE_FACTOR * one.uncertainty


def _line(one: Quantity) -> str:
    value = "not measured" if one.value is None else f"{one.value:.4g} {one.unit}".strip()
    spread = "" if one.uncertainty is None else f" ± {COVERAGE_FACTOR * one.uncertainty:.2g} (95 %)"
    return f"{one.name}: {value}{spread}"
