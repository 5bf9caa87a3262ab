"""From the bench file's drawing of an array to the design that tuning starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coilbench.procedures.tune_plan import nucleus_ports
from coils.tuning.curves import TrimmerType
from coils.tuning.design import TrapLoop, trap_loop_array

if TYPE_CHECKING:
    from coilbench.bench_file import BenchFile
    from coils.tuning.design import ArrayDesign


def drawn_array(file: BenchFile, /) -> ArrayDesign | None:
    """Return the design that a bench file's drawing describes, ports in rising order; None without one."""
    drawing = file.array.drawing
    if drawing is None:
        return None
    low, high = nucleus_ports(file)
    order = sorted((*low.ports, *high.ports))
    trimmers = [
        TrimmerType(f"{group.axis_prefix}.{kind}", *getattr(drawing.trimmers[group.nucleus], kind))
        for group in (low, high)
        for kind in ("tune", "match")
    ]
    return trap_loop_array(
        TrapLoop(
            drawing.loop_inductance,
            (drawing.loop_resistance[low.nucleus], drawing.loop_resistance[high.nucleus]),
            drawing.trap_inductance,
            drawing.trap_capacitance,
        ),
        (low.frequency, high.frequency),
        (trimmers[0], trimmers[1], trimmers[2], trimmers[3]),
        (tuple(map(order.index, low.ports)), tuple(map(order.index, high.ports))),
        tuple(
            tuple(f"ch{channel}.{trimmer.element}" for trimmer in trimmers)
            for channel in range(1, file.array.channels + 1)
        ),
    )
