"""What a coverage campaign found: coverage, bias and errors over uncertainties, as numbers and as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import beta

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drawn_scan import Design

#: Heading of each kind of scan and way to treat partial volume.
HEADINGS: Final = {
    ("small", "corrected"): "Small vials, partial volume corrected (geometric transfer matrix)",
    ("large", "avoided"): "Large vials, cores 1.5 FWHM from the walls, no partial-volume correction",
    ("large", "corrected"): "Large vials, partial volume corrected (geometric transfer matrix)",
}
#: Mean |z| of a standard normal error: sqrt(2 / pi).
_MEAN_ABSOLUTE: Final = float(np.sqrt(2 / np.pi))


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return, for each kind of scan, what all its unknown vials and each of them show.

    Parameters
    ----------
    rows
        Of ``coverage_campaign.trial``, with the kind of scan as ``vials``.
    """
    summary: dict[str, Any] = {}
    for vials, way in HEADINGS:
        group = [row for row in rows if (row["vials"], row["partial_volume"]) == (vials, way)]
        unknown = [row for row in group if not row["rejected"]]
        if not unknown:
            continue
        names = sorted({row["vial"] for row in unknown})
        summary[f"{vials}, {way}"] = {
            "scans": len({row["seed"] for row in group}),
            "references rejected": len(group) - len(unknown),
            "all": _judge(unknown),
            **{name: _judge([row for row in unknown if row["vial"] == name]) for name in names},
        }
    return summary


def _judge(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the coverage of both intervals, the bias, and errors over uncertainties."""
    truth, estimate, low, high, stated = (
        np.array([row[key] for row in rows]) for key in ("truth", "estimate", "low", "high", "uncertainty")
    )
    relative, z = estimate / truth - 1, (estimate - truth) / stated
    count = truth.size
    result = {"intervals": float(count)}
    for name, inside in (
        ("monte_carlo", (low <= truth) & (truth <= high)),
        ("linear", np.abs(z) <= 1.96),
    ):
        held = int(np.count_nonzero(inside))
        result[f"coverage_{name}"] = held / count
        # Clopper, Pearson, Biometrika 26:404 (1934), as if vials of one scan were independent.
        result[f"coverage_{name}_low"] = float(beta.ppf(0.025, held, count - held + 1)) if held else 0.0
        result[f"coverage_{name}_high"] = (
            float(beta.ppf(0.975, held + 1, count - held)) if held < count else 1.0
        )
    result |= {
        "bias": float(relative.mean()),
        "bias_uncertainty": float(relative.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan"),
        "mean_absolute_z": float(np.mean(np.abs(z))),
        "rms_z": float(np.sqrt(np.mean(z**2))),
        "relative_uncertainty": float(np.median(stated / truth)),
        "linear_confirmed": float(np.mean([row["linear_confirmed"] for row in rows])),
    }
    return result


def error_sources(design: Design) -> list[str]:
    """Return every error that is drawn, with its standard deviation."""
    spread = design.spread
    # Neighbours at the end of k-space one over the diameter apart: 4 pi (kmax D)².
    asked = 4 * np.pi * (design.matrix / design.fov * design.contents[0].radius_m) ** 2
    return [
        f"receiver noise {100 * spread.noise:.2f} % of the largest sample, correlated between channels",
        f"B1+ {100 * spread.flip:.0f} % common and {100 * spread.flip_own:.0f} % of each compartment",
        "B1-: size, coupling, gains and phases of the array",
        f"T1 {100 * spread.t1:.0f} % and T2* {100 * spread.t2_star:.0f} % of every material",
        f"reference concentrations {100 * spread.preparation:.0f} %",
        f"phantom shifted {spread.shift * 1e3:.1f} mm per axis, turned {np.degrees(spread.turn):.1f} degrees",
        f"vials seated in it to {spread.seat * 1e3:.1f} mm per axis",
        f"frequency {spread.frequency:.0f} Hz common and {spread.frequency_own:.0f} Hz of each compartment",
        f"gradient delay {spread.delay * 1e6:.1f} us after its calibration",
        f"gain drift {100 * spread.gain_drift:.0f} % over the scan",
        f"undersampling: {design.spokes} of {asked:.0f} directions that the phantom asks for",
        "partial volume, T2* blur and truncation of k-space",
    ]


def lines(summary: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of ``summarise``."""
    for (vials, way), heading in HEADINGS.items():
        group = summary.get(f"{vials}, {way}")
        if group is None:
            continue
        yield ""
        yield f"{heading}: {group['scans']} scans, {group['references rejected']} references rejected"
        yield (
            f"{'vial':10s} {'n':>5s}  {'coverage, Monte Carlo':>24s}  {'coverage, linear':>24s}  "
            f"{'bias':>16s}  {'mean |z|':>8s}  {'rms z':>5s}  {'u':>5s}  confirmed"
        )
        for name, one in group.items():
            if isinstance(one, dict):
                yield _line(name, one)
    yield ""
    yield "Coverage with its 95 % binomial interval, bias with its standard error."
    yield f"A normal error has a mean |z| of {_MEAN_ABSOLUTE:.3f}; confirmed: linear by JCGM 101."


def _line(name: str, one: dict[str, float]) -> str:
    held = "  ".join(
        f"{100 * one[f'coverage_{way}']:7.1f} % ({100 * one[f'coverage_{way}_low']:5.1f}-"
        f"{100 * one[f'coverage_{way}_high']:5.1f})"
        for way in ("monte_carlo", "linear")
    )
    return (
        f"{name:10s} {one['intervals']:5.0f}  {held}  {100 * one['bias']:+6.2f} ± "
        f"{100 * one['bias_uncertainty']:.2f} %  {one['mean_absolute_z']:8.3f}  {one['rms_z']:5.2f}  "
        f"{100 * one['relative_uncertainty']:.1f} %  {100 * one['linear_confirmed']:.0f} %"
    )
