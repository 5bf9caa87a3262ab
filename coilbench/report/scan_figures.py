"""The pictures of a scan: noise matrices, images, channels, regression, budget; drawn by page or file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.report.canvas import COLOURS, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Inches that the page is wide.
_WIDTH: Final = 9.6
#: Inches that one picture of a mosaic is wide, at most.
_LARGEST_PICTURE: Final = 4.0
#: Channels beside each other.
_COLUMNS: Final = 8
#: Causes of a budget that have a colour of their own; the rest is one bar.
_CAUSES: Final = 6


def correlation_figure(
    measured: NDArray[np.complex128],
    predicted: NDArray[np.complex128] | None = None,
    deviation: NDArray[np.float64] | None = None,
) -> Figure:
    """Draw |rho| measured by the receivers beside the one predicted from S, and how far they are apart.

    Parameters
    ----------
    measured, predicted
        Correlation matrices, shape (channel, channel); no prediction: the measured one alone.
    deviation
        Standard uncertainty of each measured correlation, same shape; the difference is drawn in it.
    """
    if predicted is None:
        figure, ((axes,),) = new_figure(0.45 * _WIDTH, 3.4, 1, 1, room=(0.5, 0.48, 0.6, 0.32))
        _matrix(figure, axes, np.abs(measured), "noise correlation |ρ|, measured", "magma", None)
        return figure
    columns = 3 if deviation is None else 4
    figure, (row,) = new_figure(_WIDTH, 2.4, 1, columns, room=(0.35, 0.48, 0.15, 0.32), gap=(0.68, 0.0))
    off = ~np.eye(len(measured), dtype=np.bool_)
    top = max(0.05, float(np.abs(measured)[off].max(initial=0)), float(np.abs(predicted)[off].max(initial=0)))
    _matrix(figure, row[0], np.abs(measured), "|ρ| measured", "magma", (0.0, top))
    _matrix(figure, row[1], np.abs(predicted), "|ρ| predicted from S", "magma", (0.0, top))
    if deviation is not None:
        apart = np.abs(measured - predicted) / np.where(off, deviation, 1.0)
        _matrix(figure, row[2], apart, "difference / its u", "cividis", (0.0, max(4.0, float(apart.max()))))
    _scatter(row[-1], measured, predicted, deviation)
    return figure


def slices_figure(
    volume: NDArray[np.floating[Any]], voxel: float, radius: float, title: str, unit: str, maximum: float
) -> Figure:
    """Draw transverse slices through the middle of a volume.

    Parameters
    ----------
    volume
        Shape (z, y, x).
    voxel, radius
        Voxel size, and radius of the phantom to show, in m.
    title, unit
        What the values are.
    maximum
        Upper end of the colour scale.
    """
    depth = volume.shape[0]
    reach = max(0.0, min(0.85 * radius / voxel, 0.5 * depth - 1))
    middle = depth / 2 if depth > 1 else 0.0
    chosen = np.unique(np.linspace(middle - reach, middle + reach, 10).round().astype(int))
    labels = [f"z = {(index - depth // 2) * voxel * 1e3:.0f} mm" for index in chosen]
    pictures = [_cut(volume[index], voxel, radius) for index in chosen]
    return _mosaic(pictures, labels, 5, maximum, f"{title} / {unit}" if unit else title)


def channels_figure(snr: NDArray[np.floating[Any]], voxel: float, radius: float) -> Figure:
    """Draw each channel's own SNR in the transverse slice through the middle, on one scale.

    Parameters
    ----------
    snr
        Shape (channel, y, x).
    voxel, radius
        Voxel size, and radius of the phantom to show, in m.
    """
    labels = [f"ch {channel}" for channel in range(1, len(snr) + 1)]
    pictures = [_cut(values, voxel, radius) for values in snr]
    return _mosaic(pictures, labels, _COLUMNS, float(snr.max()), "SNR")


def profile_figure(
    volume: NDArray[np.floating[Any]], spacing: tuple[float, float, float], radius: float, label: str
) -> Figure:
    """Draw the lines through the middle of a volume along x, y and z.

    Parameters
    ----------
    volume
        Shape (z, y, x).
    spacing
        Voxel size along (z, y, x), m.
    radius
        Of the phantom to show, m.
    label
        Of the values.
    """
    figure, ((axes,),) = new_figure(_WIDTH, 2.4, 1, 1, room=(0.65, 0.48, 0.2, 0.12))
    centre = [count // 2 for count in volume.shape]
    for number, (name, axis) in enumerate((("x", 2), ("y", 1), ("z", 0))):
        place: list[int | slice] = list(centre)
        place[axis] = slice(None)
        along = (np.arange(volume.shape[axis]) - centre[axis]) * spacing[axis] * 1e3
        axes.plot(along, volume[tuple(place)], color=COLOURS[number], lw=1.2, label=f"along {name}")
    edge = 1.15e3 * radius
    axes.set(xlabel="position / mm", ylabel=label, xlim=(-edge, edge), ylim=(0, None))
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)
    return figure


def maps_figure(
    maps: Sequence[tuple[NDArray[np.floating[Any]], str]], voxel: float, radius: float, unit: str
) -> Figure:
    """Draw the middle transverse slice of several maps, each on its own scale.

    Parameters
    ----------
    maps
        Volume (z, y, x) and title of each.
    voxel, radius
        Voxel size, and radius of the phantom to show, in m.
    unit
        Of all values.
    """
    figure, (row,) = new_figure(_WIDTH, 2.5, 1, len(maps), room=(0.1, 0.1, 0.7, 0.3), gap=(0.6, 0.0))
    for axes, (volume, title) in zip(row, maps, strict=True):
        middle = volume[volume.shape[0] // 2]
        inside = middle[middle > 0]
        top = float(np.quantile(inside, 0.98)) if inside.size else 1.0
        picture = _picture(axes, middle, voxel, radius, top)
        axes.set_title(title, fontsize=8)
        figure.colorbar(picture, ax=axes, label=unit, shrink=0.8)
    return figure


def regression_figure(
    concentration: NDArray[np.float64],
    signal: NDArray[np.float64],
    signal_sd: NDArray[np.float64],
    is_reference: NDArray[np.bool_],
    line: tuple[float, float],
    names: Sequence[str],
) -> Figure:
    """Draw corrected vial signals over true concentrations with the regression line and its residuals.

    Parameters
    ----------
    concentration
        True concentrations in mmol/L, shape (vial,).
    signal, signal_sd
        Corrected signals and their standard uncertainties, shape (vial,).
    is_reference
        Which vials the line was fitted to, shape (vial,).
    line
        Intercept and slope (signal per mmol/L).
    names
        Names of the vials.
    """
    figure, (row,) = new_figure(_WIDTH, 3.4, 1, 2, gap=(0.95, 0.0))
    left, right = row
    intercept, slope = line
    span = np.array([0.0, float(concentration.max()) * 1.15])
    left.plot(span, intercept + slope * span, color="0.5", lw=1)
    for kind, mask, marker, colour in (
        ("reference", is_reference, "o", COLOURS[0]),
        ("check", ~is_reference, "s", COLOURS[1]),
    ):
        fitted = intercept + slope * concentration[mask]
        left.errorbar(
            concentration[mask], signal[mask], 2 * signal_sd[mask], fmt=marker, ms=5, color=colour, label=kind
        )
        right.errorbar(
            concentration[mask],
            (signal[mask] - fitted) / slope,
            2 * signal_sd[mask] / slope,
            fmt=marker,
            ms=5,
            color=colour,
        )
    for x, y, name in zip(concentration, signal, names, strict=True):
        left.annotate(
            plain(name), (x, y), textcoords="offset points", xytext=(5, -9), fontsize=7, parse_math=False
        )
    left.set(xlabel="true concentration / (mmol/L)", ylabel="corrected signal / background")
    right.axhline(0.0, color="0.5", lw=1)
    right.set(xlabel="true concentration / (mmol/L)", ylabel="residual / (mmol/L)")
    left.legend(fontsize=8)
    for axes in row:
        axes.grid(alpha=0.25)
    return figure


def budget_figure(
    names: Sequence[str],
    contributions: Sequence[Sequence[tuple[str, float]]],
    totals: Sequence[tuple[float, float]],
    unit: str,
) -> Figure:
    """Draw what each cause adds to the variance of each result, and u by GUM beside u by Monte Carlo.

    Parameters
    ----------
    names
        Of the results.
    contributions
        (cause, standard uncertainty in ``unit``) of each.
    totals
        Standard uncertainty by linear propagation (GUM) and by Monte Carlo, of each.
    unit
        Of all of them.
    """
    weight: dict[str, float] = {}
    for causes in contributions:
        for cause, part in causes:
            weight[cause] = weight.get(cause, 0.0) + part**2
    shown = sorted(weight, key=lambda cause: -weight[cause])[:_CAUSES]
    figure, (row,) = new_figure(
        _WIDTH,
        0.3 * len(names) + 0.95,
        1,
        2,
        room=(1.2, 0.48, 0.2, 0.42),
        gap=(0.3, 0.0),
        width_ratios=(1.5, 1),
        sharey=True,
    )
    places = np.arange(len(names))
    shares = np.array([[dict(causes).get(cause, 0.0) ** 2 for cause in shown] for causes in contributions])
    whole = np.array([sum(part**2 for _, part in causes) for causes in contributions])
    share = 100 * np.column_stack([shares, whole - shares.sum(axis=1)]) / np.maximum(whole, 1e-30)[:, None]
    start = np.zeros(len(names))
    for number, cause in enumerate((*shown, "others")):
        if share[:, number].max(initial=0.0) < 0.1:
            continue
        colour = COLOURS[number] if cause != "others" else "0.75"
        row[0].barh(places, share[:, number], left=start, color=colour, label=cause, height=0.7)
        start += share[:, number]
    row[0].set(xlabel="share of the variance / %", xlim=(0, 100), yticks=places)
    row[0].set_yticklabels([plain(name) for name in names], fontsize=8, parse_math=False)
    row[0].invert_yaxis()
    figure.legend(fontsize=7, ncols=_CAUSES + 1, loc="upper center", frameon=False)
    linear, drawn = np.array(totals).T
    row[1].barh(places - 0.18, linear, height=0.34, color=COLOURS[0], label="GUM, linear")
    row[1].barh(places + 0.18, drawn, height=0.34, color=COLOURS[1], label="Monte Carlo")
    row[1].set(xlabel=f"standard uncertainty / ({unit})")
    row[1].set_xlim(0.0, 1.5 * float(max(linear.max(), drawn.max())))
    row[1].legend(fontsize=7, loc="center right")
    row[1].grid(alpha=0.25, axis="x")
    return figure


def plain(text: str, /) -> str:
    """Return text that matplotlib draws as it stands: no control characters, no markup of formulas."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _matrix(
    figure: Figure,
    axes: Any,  # noqa: ANN401 - matplotlib
    values: NDArray[np.float64],
    title: str,
    colours: str,
    limits: tuple[float, float] | None,
) -> None:
    """Draw a matrix of channels without its diagonal."""
    channels = np.arange(len(values))
    shown = np.where(np.eye(len(values)) > 0, np.nan, values)
    low, high = limits or (0.0, max(0.05, float(np.nanmax(shown, initial=0.0))))
    picture = axes.imshow(shown, vmin=low, vmax=high, cmap=colours)
    axes.set_title(title, fontsize=9)
    step = max(1, len(values) // 8)
    axes.set(xlabel="channel", xticks=channels[::step], yticks=channels[::step])
    axes.set_xticklabels(channels[::step] + 1, fontsize=7)
    axes.set_yticklabels(channels[::step] + 1, fontsize=7)
    figure.colorbar(picture, ax=axes, shrink=0.75).ax.tick_params(labelsize=7)


def _scatter(
    axes: Any,  # noqa: ANN401 - matplotlib
    measured: NDArray[np.complex128],
    predicted: NDArray[np.complex128],
    deviation: NDArray[np.float64] | None,
) -> None:
    """Draw every pair's measured correlation over its prediction, real and imaginary part."""
    upper = np.triu_indices(len(measured), 1)
    # the uncertainty of a complex number is shared by its two parts; bars 95 %
    bars = None if deviation is None else 2 * deviation[upper] / np.sqrt(2)
    for part, marker, colour in (("real", "o", COLOURS[0]), ("imag", "s", COLOURS[1])):
        axes.errorbar(
            getattr(predicted[upper], part),
            getattr(measured[upper], part),
            bars,
            fmt=marker,
            ms=3,
            lw=0.6,
            color=colour,
            label=part,
        )
    axes.axline((0, 0), slope=1, color="0.6", lw=0.8)
    axes.set_title("ρ of every pair, bars 95 %", fontsize=9)
    axes.set(xlabel="predicted", ylabel="measured")
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.25)


def _picture(
    axes: Any,  # noqa: ANN401 - matplotlib
    values: NDArray[np.floating[Any]],
    voxel: float,
    radius: float,
    maximum: float,
) -> Any:  # noqa: ANN401 - matplotlib
    """Draw a transverse slice, +y up, cut to the phantom."""
    axes.set_axis_off()
    return axes.imshow(
        _cut(values, voxel, radius), vmin=0.0, vmax=maximum or 1.0, cmap="inferno", origin="lower"
    )


def _cut(values: NDArray[np.floating[Any]], voxel: float, radius: float) -> NDArray[np.float64]:
    """Return the middle of a slice (y, x), as large as the phantom and a little more."""
    half = int(np.ceil(1.15 * radius / voxel))
    y, x = (slice(max(0, count // 2 - half), count // 2 + half + 1) for count in values.shape)
    return np.asarray(values[y, x], dtype=np.float64)


def _mosaic(
    pictures: Sequence[NDArray[np.float64]], labels: Sequence[str], columns: int, maximum: float, label: str
) -> Figure:
    """Draw pictures of one size beside and below each other as one image: an axes for each takes seconds."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape
    gap = max(1, width // 16)
    head = max(2, round(0.16 * width))
    down, along = height + head, width + gap
    whole = np.full((rows * down, columns * along - gap), np.nan)
    wide = min(_WIDTH, _LARGEST_PICTURE * columns + 1.2)
    tall = (wide - 1.2) * rows * down / (columns * along - gap) + 0.1
    figure, ((axes,),) = new_figure(wide, tall, 1, 1, room=(0.05, 0.05, 1.15, 0.05))
    for number, (picture, text) in enumerate(zip(pictures, labels, strict=True)):
        row, column = divmod(number, columns)
        top, left = row * down + head, column * along
        whole[top : top + height, left : left + width] = picture[::-1]
        axes.text(left, top - 0.3 * head, text, fontsize=7, va="bottom")
    shown = axes.imshow(whole, vmin=0.0, vmax=maximum or 1.0, cmap="inferno")
    axes.set_axis_off()
    bar = figure.add_axes((1 - 1.05 / wide, 0.1, 0.15 / wide, 0.8))
    figure.colorbar(shown, cax=bar, label=label)
    return figure
