"""The picture of a design: what one nucleus gives and the other takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coilbench.report.canvas import COLOURS, new_figure, svg_text

if TYPE_CHECKING:
    from coils.circuit.design import Design
    from coils.circuit.trade_off import TradeOff


def trade_off_figure(curve: TradeOff, names: tuple[str, str], design: Design) -> str:
    """Draw SNR of both nuclei over the trap's coil, and one against the other, the design marked.

    Parameters
    ----------
    names
        The lower and the upper nucleus.
    """
    figure, ((left, right),) = new_figure(9.6, 3.6, 1, 2)
    nano = curve.inductances * 1e9
    low, high = design.ports
    for values, port, name, colour in (
        (curve.low, low, names[0], COLOURS[0]),
        (curve.high, high, names[1], COLOURS[1]),
    ):
        left.plot(nano, values, color=colour, label=name)
        left.plot([design.trap_coil * 1e9], [port.part_snr], marker="o", color=colour)
    left.set(xlabel="Lt / nH", ylabel="SNR over that with lossless parts", ylim=(0, 1.02))
    left.legend(fontsize=8)
    right.plot(curve.low, curve.high, color=COLOURS[2])
    for place in range(0, len(nano), 6):
        right.annotate(
            f"{nano[place]:.0f} nH",
            (curve.low[place], curve.high[place]),
            textcoords="offset points",
            xytext=(5, 3),
            fontsize=7,
        )
    right.plot([low.part_snr], [high.part_snr], marker="o", color="k", ls="none", label="this design")
    right.set(xlabel=f"SNR at {names[0]}", ylabel=f"SNR at {names[1]}")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return svg_text(figure)
