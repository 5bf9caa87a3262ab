"""Quality control of a phantom scan: channels against a baseline, uniformity, streaks, geometry, sharpness.

The first scan of a coil makes its baseline; until there is one, changes are not judged and say so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from coilbench.base.verdict import Judged, Verdict, judge, overall
from coilbench.procedures.quantify import phantom_model
from coilbench.quantities import COVERAGE_FACTOR, Quantity, finite, quantities_of_judged
from coilbench.session import jsonable, write_atomically
from recon import channel_health, geometry, ghost, resolution, uniformity
from recon.combine import combine_roemer, combine_squares
from recon.fingerprint import ArrayFingerprint, array_fingerprint, coarse_regions, unwhitened
from recon.regions import GUARD, background_mask
from recon.voxel_noise import independent_fraction, predicted_deviation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from coilbench.bench_file import BenchFile
    from coilbench.procedures.scan import Scanned
    from coilbench.qc_limits import QualityLimits
    from recon.channel_health import ArrayHealth
    from recon.live import ChannelImages
    from recon.phantom import Phantom
    from recon.psf import RadialReadout

#: Layout of qc-NNN.json.
QC_SCHEMA: Final = 1
#: Names under which a baseline's numbers are found again.
_UNIFORMITY: Final = "uniformity, noise-corrected"
_STREAKS: Final = "streak ratio"
#: Largest radius in voxels of a ball that tells the resolution by itself: a larger one is all wall.
_SMALL_BALL: Final = 2.0


@dataclass(frozen=True, slots=True)
class QualityBaseline:
    """What a scan is held against.

    Parameters
    ----------
    run
        Name of the run it was taken from.
    fingerprint
        Of the array then.
    values
        The quantities then, by name; those without a place.
    """

    run: str
    fingerprint: ArrayFingerprint
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class QualityControl:
    """What quality control says of a scan.

    Parameters
    ----------
    quantities
        Numbers with their verdicts, for records, tables and trends.
    judged
        Those with a limit.
    fingerprint
        Of the array, to be the baseline of later scans.
    health
        Against the baseline; None where there is none.
    statements
        Lines for a person: faulty channels with their cause first, then what could not be measured.
    """

    quantities: tuple[Quantity, ...]
    judged: tuple[Judged, ...]
    fingerprint: ArrayFingerprint
    health: ArrayHealth | None
    statements: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all; a faulty channel fails."""
        return overall(self.judged)

    def plain(self) -> dict[str, Any]:
        """Return numbers, texts and lists only, for JSON."""
        plain: dict[str, Any] = jsonable(
            {
                "schema": QC_SCHEMA,
                "verdict": str(self.verdict),
                "quantities": list(self.quantities),
                "fingerprint": self.fingerprint.plain(),
                "findings": [] if self.health is None else list(self.health.findings),
                "statements": list(self.statements),
            }
        )
        return plain


def control_quality(
    file: BenchFile,
    scanned: Scanned,
    sensitivities: NDArray[np.complex64],
    /,
    *,
    baseline: QualityBaseline | None = None,
    limits: QualityLimits | None = None,
) -> QualityControl:
    """Return every quality of a scan of the bench file's phantom.

    Parameters
    ----------
    file
        States the phantom.
    scanned
        The scan; its first repetition is judged.
    sensitivities
        Whitened, shape (channel, z, y, x) (``quantified.tsc.sensitivities``): they take the coil's shading
        off the surroundings of small balls.
    baseline
        Of the same coil and phantom (``read_quality``).
    limits
        Which set judges; None: the bench file's.

    Raises
    ------
    MeasurementError
        The scan has no noise pre-scan, or the phantom is too small for the image.
    """
    limits = limits or file.qc
    phantom, images = phantom_model(file), scanned.images[0]
    fraction = independent_fraction(images)
    fingerprint = array_fingerprint(
        unwhitened(images.images, scanned.noise),
        scanned.noise,
        coarse_regions(background_mask(images.grid, phantom)),
        noise_gain=images.noise_gain,
        independent_fraction=fraction,
        names=tuple(f"{file.array.serial_number} ch{number + 1}" for number in range(images.channels)),
    )
    missing: list[str] = []
    quantities: list[Quantity] = []
    judged: list[Judged] = []
    parts = (
        partial(_uniformity, images),
        partial(_streaks, images),
        partial(_geometry, images, scanned.readout),
        partial(_small_balls, images, scanned.readout, sensitivities),
    )
    for part in parts:
        try:
            found, verdicts = part(phantom, fraction, baseline, limits)
        except MeasurementError as error:
            missing.append(f"not measured: {error}")
            continue
        quantities += found
        judged += verdicts
    missing.append(
        "not measured: percent signal ghosting: spokes have no phase-encoding direction; the streak ratio "
        "says what they add to the background"
    )
    health = None
    if baseline is not None:
        health, changes = judge_channels(fingerprint, baseline, limits)
        judged += changes
    said = [] if health is None else [finding.text for finding in health.findings]
    if baseline is None:
        missing.append("no baseline: this scan can become one; changes of channels are not judged")
    # one algorithm version per set of limits: a verdict of other limits is another row
    quantities += quantities_of_judged(judged, algorithm="quality control", version=f"1, {limits.name}")
    return QualityControl(tuple(quantities), tuple(judged), fingerprint, health, (*said, *missing))


def keep_quality(folder: Path, quality: QualityControl, /) -> Path:
    """Write a quality control into its run folder as the next ``qc-NNN.json``; earlier ones stay.

    Raises
    ------
    StorageError
        The disk refused.
    """
    last = max((int(path.stem[3:]) for path in folder.glob("qc-[0-9][0-9][0-9].json")), default=0)
    text = json.dumps(quality.plain(), indent=1, allow_nan=False)
    return write_atomically(folder / f"qc-{last + 1:03d}.json", text)


def read_quality(folder: Path, /) -> QualityBaseline:
    """Return the newest quality control of a run folder as a baseline.

    Raises
    ------
    MeasurementError
        There is none, or it is damaged.
    """
    paths = sorted(folder.glob("qc-[0-9][0-9][0-9].json"))
    if not paths:
        raise MeasurementError(
            f"{folder} holds no quality control: `coilbench qc` on that run makes one to compare with"
        )
    try:
        plain = json.loads(paths[-1].read_text(encoding="utf-8"))
        values = {
            str(row["name"]): float(row["value"])
            for row in plain["quantities"]
            if not row["place"] and row["value"] is not None
        }
        return QualityBaseline(folder.name, ArrayFingerprint.from_plain(plain["fingerprint"]), values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MeasurementError(f"{paths[-1]}: the quality control is damaged: {error}") from error


_Part = tuple[list[Quantity], list[Judged]]


def _uniformity(
    images: ChannelImages,
    phantom: Phantom,
    fraction: float,
    baseline: QualityBaseline | None,
    limits: QualityLimits,
) -> _Part:
    central = uniformity.central_region(images.grid, phantom.centre, phantom.radius)
    found = uniformity.uniformity(
        _squares(images),
        images.grid,
        central & background_mask(images.grid, phantom),
        deviation=1.0,
        channels=images.channels,
        independent_fraction=fraction,
    )
    state = partial(Quantity, algorithm=uniformity.ALGORITHM, version=uniformity.VERSION)
    quantities = [
        state("uniformity, as it is", found.raw, "%"),
        state(_UNIFORMITY, found.corrected, "%", found.uncertainty),
        state("uniformity of noise alone", found.expected_of_noise, "%"),
    ]
    before = None if baseline is None else baseline.values.get(_UNIFORMITY)
    if before is None:
        return quantities, []
    change = judge(
        "uniformity change",
        abs(found.corrected - before),
        "%",
        uncertainty=COVERAGE_FACTOR * np.sqrt(2) * found.uncertainty,
        at_most=limits.uniformity_fail,
        warn_at=limits.uniformity_warn,
    )
    return quantities, [change]


def _streaks(
    images: ChannelImages,
    phantom: Phantom,
    fraction: float,
    baseline: QualityBaseline | None,
    limits: QualityLimits,
) -> _Part:
    found = ghost.streaks(
        images.images,
        images.grid,
        phantom.centre,
        phantom.radius + GUARD * images.grid.resolution,
        0.5 * min(images.grid.field_of_view),
        deviation=images.noise_gain,
        independent_fraction=fraction,
    )
    state = partial(Quantity, algorithm=ghost.ALGORITHM, version=ghost.VERSION)
    quantities = [state(_STREAKS, found.ratio, "", found.uncertainty)]
    before = None if baseline is None else baseline.values.get(_STREAKS)
    if before is None:
        return quantities, []
    change = judge(
        "streak ratio above its baseline",
        found.ratio - before,
        "",
        uncertainty=COVERAGE_FACTOR * np.sqrt(2) * found.uncertainty,
        at_most=limits.streaks_fail,
        warn_at=limits.streaks_warn,
    )
    return quantities, [change]


def _geometry(
    images: ChannelImages,
    readout: RadialReadout,
    phantom: Phantom,
    fraction: float,
    baseline: QualityBaseline | None,
    limits: QualityLimits,
) -> _Part:
    """Fit the wall; diameters are held against the baseline's."""
    grid = images.grid
    edge = resolution.edge_of_readout(readout, phantom.background.relaxation, phantom.radius)
    exclude = np.zeros(grid.shape, dtype=np.bool_)
    for vial in phantom.vials:
        exclude |= grid.distances(vial.centre) < vial.radius + grid.resolution
    fit = geometry.fit_ball(
        images.images,
        grid,
        phantom.centre,
        phantom.radius,
        edge,
        deviation=images.noise_gain,
        exclude=exclude,
        independent_fraction=fraction,
    )
    state = partial(Quantity, algorithm=geometry.ALGORITHM, version=geometry.VERSION)
    quantities, judged = [], []
    for axis, diameter, spread in zip("xyz", fit.diameters, fit.diameter_uncertainty, strict=True):
        name = f"diameter along {axis}"
        quantities.append(state(name, 1e3 * diameter, "mm", 1e3 * spread))
        before = None if baseline is None else baseline.values.get(name)
        if before is not None:
            judged.append(
                judge(
                    f"{name}, change",
                    abs(1e3 * diameter - before),
                    "mm",
                    uncertainty=1e3 * COVERAGE_FACTOR * np.sqrt(2) * spread,
                    at_most=1e3 * limits.diameter_fail,
                    warn_at=1e3 * limits.diameter_warn,
                )
            )
    for axis, place, spread in zip("xyz", fit.centre, fit.centre_uncertainty, strict=True):
        quantities.append(state(f"centre along {axis}", 1e3 * place, "mm", 1e3 * spread))
    quantities += [
        state("distortion", 1e3 * fit.distortion, "mm", 1e3 * fit.distortion_uncertainty),
        state("resolution", 1e3 * fit.width, "mm", 1e3 * fit.width_uncertainty),
    ]
    judged.append(
        judge(
            "resolution over the promised one",
            fit.width / edge.full_width,
            "",
            uncertainty=COVERAGE_FACTOR * fit.width_uncertainty / edge.full_width,
            at_most=limits.resolution_fail,
            warn_at=limits.resolution_warn,
        )
    )
    return quantities, judged


def _small_balls(
    images: ChannelImages,
    readout: RadialReadout,
    sensitivities: NDArray[np.complex64],
    phantom: Phantom,
    fraction: float,
    baseline: QualityBaseline | None,
    limits: QualityLimits,
) -> _Part:
    """Measure the point spread at every vial that is small enough to show it."""
    del baseline  # the promise judges, not an earlier scan
    grid = images.grid
    largest = _SMALL_BALL * max(grid.spacing)
    small = [vial for vial in phantom.vials if vial.radius <= largest]
    if not small:
        raise MeasurementError(
            f"resolution at a small ball: no vial has a radius of {1e3 * largest:.1f} mm (two voxels) or "
            "less; the phantom's wall gives the resolution"
        )
    combined = np.real(combine_roemer(images.images, sensitivities)).astype(np.float32)
    deviation = predicted_deviation(images, sensitivities)
    state = partial(Quantity, algorithm=resolution.ALGORITHM, version=resolution.VERSION)
    quantities, judged = [], []
    for vial in small:
        inside = grid.distances(vial.centre) <= vial.radius + max(grid.spacing)
        found = resolution.small_ball_resolution(
            combined,
            grid,
            vial.centre,
            vial.radius,
            readout,
            vial.material.relaxation,
            deviation=float(np.median(deviation[inside])),
            independent_fraction=fraction,
        )
        name = f"resolution at {vial.name}"
        quantities.append(state(name, 1e3 * found.width, "mm", 1e3 * found.uncertainty))
        judged.append(
            judge(
                f"{name} over the promised one",
                found.ratio,
                "",
                uncertainty=COVERAGE_FACTOR * found.uncertainty / found.expected,
                at_most=limits.resolution_fail,
                warn_at=limits.resolution_warn,
            )
        )
    return quantities, judged


def judge_channels(
    now: ArrayFingerprint, baseline: QualityBaseline, limits: QualityLimits, /
) -> tuple[ArrayHealth, list[Judged]]:
    """Judge each channel's noise, its SNR, and how many channels have a fault with a name.

    Raises
    ------
    MeasurementError
        The baseline is of other channels or regions.
    """
    before = baseline.fingerprint
    if now.signal.shape != before.signal.shape:
        raise MeasurementError(
            f"the baseline {baseline.run} is of {before.signal.shape} channels and regions, this scan of "
            f"{now.signal.shape}: choose a baseline of the same coil, phantom and matrix"
        )
    health = channel_health.channel_health(now, before)
    return health, [
        judge("channels with a fault", len({finding.channel for finding in health.findings}), "", at_most=0),
        *_changes(now, before, limits),
    ]


def _changes(now: ArrayFingerprint, before: ArrayFingerprint, limits: QualityLimits) -> Iterator[Judged]:
    """Yield the changes of noise and of SNR, channel by channel; a dead one has none."""
    spread = COVERAGE_FACTOR * float(
        np.hypot(now.noise_level_uncertainty_db, before.noise_level_uncertainty_db)
    )
    for number in range(1, now.channels + 1):
        new, old = now.channel(number), before.channel(number)
        noise = finite(new.noise_level_db - old.noise_level_db)
        if noise is None:
            continue
        place = f"(channel {number})"
        yield judge(
            f"noise change {place}",
            abs(noise),
            "dB",
            uncertainty=spread,
            at_most=limits.noise_fail_db,
            warn_at=limits.noise_warn_db,
        )
        signal = finite(new.signal_level_db - old.signal_level_db)
        if signal is not None:
            yield judge(
                f"SNR change {place}",
                100 * abs(10 ** ((signal - noise) / 20) - 1),
                "%",
                # d(ratio) / ratio = ln(10) / 20 per dB
                uncertainty=100 * 0.115 * spread,
                at_most=100 * limits.snr_fail,
                warn_at=100 * limits.snr_warn,
            )


def _squares(images: ChannelImages) -> NDArray[np.float32]:
    """Return the root of the sum of squares in units of the noise, with its floor."""
    return combine_squares(images.images, images.noise_gain, correct_bias=False)
