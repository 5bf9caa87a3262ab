"""The page on data that no run of ours made: the picture with its outline, quality control, noise, sodium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coilbench.report.canvas import COLOURS, new_figure
from coilbench.report.page import Page, Rows, Section, render
from coilbench.report.quality_section import channel_levels_figure, quantity_rows
from coilbench.report.scan_figures import slices_figure
from coilbench.report.scan_sections import LEAST_SHOWN, noise_figure
from recon.outline import central_part
from recon.tsc.quantification import NOT_MEASURED
from recon.uniformity import CENTRAL_FRACTION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from coilbench.foreign_qc import ForeignQuality
    from coilbench.foreign_report import ForeignReport
    from coilbench.foreign_scene import ReceivedScan, Scene
    from coilbench.foreign_sodium import ForeignSodium


def foreign_page(report: ForeignReport, software: str, /) -> str:
    """Return the report on foreign data as one HTML document.

    Parameters
    ----------
    report
        Quality control, and sodium where it is known.
    software
        Name and version of the program.
    """
    found, scene = report.quality, report.quality.scene
    depth, height, width = scene.grid.shape
    size = " × ".join(f"{1e3 * edge:.3g}" for edge in scene.grid.spacing[::-1])
    facts = (
        ("data", scene.name),
        ("kind", "images" if scene.received is None else "raw data with a noise scan"),
        (
            "matrix",
            f"{width} × {height} × {depth} (x, y, z)"
            + (f", voxels of {size} mm" if scene.has_lengths else ""),
        ),
        *(() if scene.received is None else (("channels", str(scene.received.noise.channels)),)),
        ("baseline", found.baseline or "none"),
        ("software", software),
    )
    sections = [_image(scene), _quality(found)]
    if scene.received is not None:
        sections.append(_noise(scene.received))
    if report.sodium is not None:
        sections.append(_sodium(report.sodium))
    lines = (*found.statements, *scene.notes)
    return render(
        Page(
            f"Report on {scene.name}",
            facts,
            report.verdict,
            report.judged,
            lines,
            sections,
            "What to know",
        )
    )


def outline_figure(scene: Scene, /) -> Figure:
    """Draw the slice that was looked at, the object's outline, and the part whose uniformity is stated."""
    height, width = scene.mask.shape
    dy, dx = (1e3 * step for step in scene.grid.spacing[1:]) if scene.has_lengths else (1.0, 1.0)
    figure, ((axes,),) = new_figure(5.2, 4.4, 1, 1, room=(0.65, 0.48, 0.75, 0.1))
    extent = (-width / 2 * dx, width / 2 * dx, height / 2 * dy, -height / 2 * dy)
    image = scene.slice_image[0]
    picture = axes.imshow(image, extent=extent, cmap="inferno", vmin=0.0)
    inner = central_part(scene.mask, scene.slice_grid, CENTRAL_FRACTION)
    x, y = ((np.arange(count) + 0.5 - count / 2) * step for count, step in ((width, dx), (height, dy)))
    for region, colour in ((scene.mask, COLOURS[5]), (inner, COLOURS[2])):
        axes.contour(x, y, region.astype(np.float64), levels=[0.5], colors=[colour], linewidths=1.0)
    unit = "mm" if scene.has_lengths else "pixels"
    axes.set(xlabel=f"along columns / {unit}", ylabel=f"along rows / {unit}")
    label = "SNR" if scene.channels is not None else "signal, file's unit"
    figure.colorbar(picture, ax=axes, label=label)
    return figure


def _image(scene: Scene) -> Section:
    figures: list[tuple[str, Figure | str]] = [
        (
            f"Slice {scene.slice_number + 1} with the outline and the central 80 % of its area",
            outline_figure(scene),
        )
    ]
    if scene.grid.shape[0] > 1:
        reach = 0.43 * min(scene.grid.field_of_view)
        title = "SNR" if scene.channels is not None else "signal"
        volume = slices_figure(scene.image, scene.grid.spacing[0], reach, title, "", float(scene.image.max()))
        figures.append(("Slices", volume))
    text = (
        "Taken for the phantom by quality control: what stands out of the background in the slice with the "
        "most signal."
    )
    return Section("Image", text, tuple(figures))


def _quality(found: ForeignQuality) -> Section:
    text = (
        f"Held against {found.baseline}."
        if found.baseline is not None
        else "There is no baseline; changes are not judged."
    )
    figures: tuple[tuple[str, Figure | str], ...] = ()
    if found.fingerprint is not None:
        caption = "Each channel's own noise and signal, relative to the median channel"
        figures = ((caption, channel_levels_figure(found.fingerprint)),)
    return Section("Quality control", text, figures, (quantity_rows(found.quantities),))


def _noise(received: ReceivedScan) -> Section:
    noise = received.noise
    rows = tuple(
        (
            str(channel + 1),
            f"{noise.sigma[channel]:.4g}",
            f"{noise.bandwidth_ratio[channel]:.3f}",
            f"{noise.kurtosis[channel]:.2f}",
            f"{noise.quadrature_ratio[channel]:.3f}",
            f"{noise.offset[channel]:.4f}",
        )
        for channel in range(noise.channels)
    )
    headings = (
        "channel", "σ (real part), unit of the samples", "noise bandwidth ratio", "kurtosis (3: Gaussian)",
        "I/Q variance (1: ideal)", "|mean| / σ",
    )  # fmt: skip
    text = (
        f"The file's noise scan, {noise.samples} samples a channel; there is no S-matrix to predict it from."
    )
    return Section(
        "Noise", text, (("Noise correlation", noise_figure(noise, None)),), (Rows(headings, rows),)
    )


def _sodium(sodium: ForeignSodium) -> Section:
    intercept, slope, spread = sodium.line
    text = (
        f"Line through the references: {intercept:.4g} + ({slope:.4g} ± {2 * spread:.2g}) L/mmol (95 %). "
        f"Noted: {'; '.join(sodium.notes)}. {NOT_MEASURED}"
    )
    stated = {vial.name: vial.concentration_mmol_l for vial in sodium.file.phantom.vials}
    rows = tuple(
        (
            vial.name,
            str(row["role"]),
            f"{stated[vial.name]:g}",
            f"{vial.concentration:.2f}",
            f"{vial.expanded_uncertainty:.2f}",
            ", ".join(
                f"{name.removeprefix('u_').replace('_', ' ')} {part:.2f}"
                for name, part in row.items()
                if name.startswith("u_") and part >= LEAST_SHOWN
            ),
        )
        for vial, row in zip(sodium.vials, sodium.rows, strict=True)
    )
    headings = ("vial", "role", "stated / (mmol/L)", "[Na] / (mmol/L)", "± (95 %)", "contributions (1 σ)")
    return Section("Total sodium concentration", text, sodium.figures(), (Rows(headings, rows),))
