"""Chapters of a report on a scan: noise beside its prediction, images in SNR units, sodium and its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.units import engineering
from coilbench.report import scan_figures
from coilbench.report.page import Rows, Section
from recon.noise import correlation_uncertainty
from recon.snr import channel_snr_map
from recon.tsc.quantification import NOT_MEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from coilbench.bench_file import BenchFile
    from coilbench.procedures.quantify import NoiseCheck, Quantified
    from coilbench.procedures.scan import Scanned
    from coilbench.ultimate_snr import UltimateShare
    from recon.live import ChannelImages
    from recon.noise import NoiseModel
    from recon.snr import Snr
    from recon.tsc import TscResult

#: Contributions below this standard uncertainty in mmol/L are left out of the table.
LEAST_SHOWN: Final = 0.005


def noise_figure(noise: NoiseModel, check: NoiseCheck | None, /) -> Figure:
    """Draw the noise correlation, beside its prediction where there is one."""
    if check is None:
        return scan_figures.correlation_figure(noise.correlation)
    power = np.sqrt(np.diag(check.predicted).real)
    predicted = check.predicted / np.outer(power, power)
    deviation = correlation_uncertainty(predicted, noise.effective_samples)
    return scan_figures.correlation_figure(noise.correlation, predicted, deviation)


def noise_section(noise: NoiseModel, check: NoiseCheck | None, channel_snr: Sequence[Snr], /) -> Section:
    """Return the receivers' noise, channel by channel, beside the one that the S-matrix predicts.

    Parameters
    ----------
    noise
        Of the pre-scan.
    check
        Its comparison with the prediction; None: there is no S-matrix.
    channel_snr
        Of each receive channel alone; empty: not known.
    """
    columns: list[tuple[str, list[str]]] = [
        ("channel", [str(channel + 1) for channel in range(noise.channels)]),
        ("σ (real part)", [engineering(float(sigma), "V") for sigma in noise.sigma]),
    ]
    if check is not None:
        ratio = check.comparison.power_ratio
        columns.append(("power / predicted", [f"{value:.4f}" for value in ratio]))
    columns += [
        ("noise bandwidth ratio", [f"{value:.3f}" for value in noise.bandwidth_ratio]),
        ("kurtosis (3: Gaussian)", [f"{value:.2f}" for value in noise.kurtosis]),
        ("I/Q variance (1: ideal)", [f"{value:.3f}" for value in noise.quadrature_ratio]),
        ("|mean| / σ", [f"{value:.4f}" for value in noise.offset]),
    ]
    if channel_snr:
        alone = [f"{snr.value:.2f} ± {2 * snr.uncertainty:.2f}" for snr in channel_snr]
        columns.append(("SNR alone (± 95 %)", alone))
    headings = tuple(heading for heading, _ in columns)
    rows = tuple(zip(*(values for _, values in columns), strict=True))
    text = f"Pre-scan with the RF amplifier off, {noise.samples} samples a channel"
    if check is None:
        text += "; there is no S-matrix to predict it from."
    else:
        agree = check.comparison.agrees()
        found = "agree within sampling error" if agree else "DISAGREE beyond sampling error"
        text += (
            ", beside kTB(I - SSᴴ) of the measured S-matrix plus the preamplifiers' noise. They "
            f"{found}: p = {check.comparison.probability:.3f}."
        )
    return Section(
        "Noise", text, (("Noise correlation", noise_figure(noise, check)),), (Rows(headings, rows),)
    )


def image_section(
    quantified: Quantified, first: ChannelImages, radius: float, ultimate: UltimateShare | None, /
) -> Section:
    """Return the SNR of the combined image and of each channel.

    Parameters
    ----------
    quantified
        With the image in SNR units.
    first
        Channel images that it was combined from.
    radius
        Of the phantom, m.
    ultimate
        The centre's SNR beside the most that physics allows; None: not known.
    """
    spacing = first.grid.spacing
    snr = quantified.snr.values
    slices = scan_figures.slices_figure(snr, spacing[2], radius, "SNR", "", float(np.max(snr)))
    figures = [
        ("SNR in transverse slices", slices),
        ("SNR through the middle", scan_figures.profile_figure(snr, spacing, radius, "SNR")),
    ]
    if first.noise is not None:
        channels = channel_snr_slice(first)
        drawing = scan_figures.channels_figure(channels, spacing[2], radius)
        figures.append(("SNR of each channel alone, middle slice, not whitened", drawing))
    text = (
        "Whitened Roemer combination of the first scan in SNR units: a value of 10 is an SNR of 10 "
        "(real-part sigma)."
    )
    if ultimate is not None:
        text += f" {ultimate.text()}"
    return Section("Image", text, tuple(figures))


def channel_snr_slice(images: ChannelImages, /) -> NDArray[np.float32]:
    """Return each channel's own magnitude over its own noise in the middle slice, shape (channel, y, x).

    Raises
    ------
    ValueError
        The images have no noise model.
    """
    if images.noise is None:
        raise ValueError("an SNR needs the noise model of the images")
    middle = images.images[:, images.grid.shape[0] // 2]
    return channel_snr_map(np.ascontiguousarray(middle), images.noise_gain, images.noise).values


def sodium_section(file: BenchFile, scanned: Scanned, tsc: TscResult, /) -> Section:
    """Return concentrations, the line they rest on, its residuals, the maps and the uncertainty budget."""
    voxel, radius = scanned.images[0].grid.spacing[2], file.phantom.radius
    true = {vial.name: vial.concentration_mmol_l for vial in file.phantom.vials}
    stated = np.array([true[vial.name] for vial in tsc.vials])
    line = scan_figures.regression_figure(
        stated,
        np.array([vial.ratio for vial in tsc.vials]),
        np.array([vial.ratio_uncertainty for vial in tsc.vials]),
        np.array([vial.reference is not None for vial in tsc.vials]),
        (0.0, tsc.regression.slope),
        [vial.name for vial in tsc.vials],
    )
    slices = scan_figures.slices_figure(
        tsc.concentration, voxel, radius, "[Na]", "mmol/L", 1.1 * float(stated.max())
    )
    maps = scan_figures.maps_figure(
        (
            (tsc.concentration, "[Na]"),
            (tsc.noise, "u by noise, each voxel its own"),
            (tsc.systematic, "u shared by all voxels of a compartment"),
        ),
        voxel,
        radius,
        "mmol/L",
    )
    budget = scan_figures.budget_figure(
        [vial.name for vial in tsc.vials],
        [vial.contributions for vial in tsc.vials],
        [(vial.uncertainty, vial.monte_carlo_uncertainty) for vial in tsc.vials],
        "mmol/L",
    )
    drawings = (
        ("Regression through the reference vials, and its residuals; bars 95 %", line),
        ("Sodium concentration map", slices),
        ("Concentration and its standard uncertainties; they are never added", maps),
        ("Uncertainty budget: what each cause adds, and u by GUM beside u by Monte Carlo", budget),
    )
    return Section(
        "Total sodium concentration",
        _sodium_text(file, tsc),
        drawings,
        (_vial_rows(tsc, stated), _budget_rows(tsc)),
    )


def _sodium_text(file: BenchFile, tsc: TscResult) -> str:
    line = tsc.regression
    rejected = "; ".join(f"{name} left out: {reason}" for name, reason in line.rejected)
    bath = f"{tsc.background:.1f} ± {1.96 * tsc.background_uncertainty.linear:.1f}"
    return (
        f"Mean of {file.scan.repetitions} scan(s). Slope {line.slope:.5f} ± {2 * line.slope_uncertainty:.5f} "
        f"L/mmol through the origin; a free intercept would be {line.intercept:.4f} ± "
        f"{2 * line.intercept_uncertainty:.4f} (95 %){', which is NOT 0' if line.has_intercept else ''}; "
        f"lack of fit p = {line.lack_of_fit_probability:.3f}. Background {bath} mmol/L. "
        f"{rejected + '. ' if rejected else ''}{NOT_MEASURED}"
    )


def _vial_rows(tsc: TscResult, stated: NDArray[np.float64]) -> Rows:
    rows = tuple(
        (
            vial.name,
            "check" if vial.reference is None else "rejected" if vial.rejected else "reference",
            f"{value:g}",
            f"{vial.concentration:.2f}",
            f"{vial.expanded_uncertainty:.2f}",
            f"{vial.interval[0]:.2f} to {vial.interval[1]:.2f}",
            f"{vial.noise_uncertainty:.2f}",
            f"{vial.systematic_uncertainty:.2f}",
        )
        for vial, value in zip(tsc.vials, stated, strict=True)
    )
    headings = (
        "vial",
        "role",
        "true / (mmol/L)",
        "[Na] / (mmol/L)",
        "± (95 %)",
        "95 % interval",
        "u by noise",
        "u systematic",
    )
    return Rows(headings, rows)


def _budget_rows(tsc: TscResult) -> Rows:
    rows = tuple(
        (
            vial.name,
            f"{vial.uncertainty:.3f}",
            f"{vial.monte_carlo_uncertainty:.3f}",
            "yes" if vial.is_linear_valid else "NO: use the interval",
            ", ".join(f"{cause} {part:.2f}" for cause, part in vial.contributions if part >= LEAST_SHOWN),
        )
        for vial in tsc.vials
    )
    headings = (
        "vial",
        "u by GUM / (mmol/L)",
        "u by Monte Carlo",
        "linear propagation holds (JCGM 101, 8.2)",
        "contributions (1 σ)",
    )
    return Rows(headings, rows)
