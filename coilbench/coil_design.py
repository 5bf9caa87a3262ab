"""Design a dual-tuned loop from what is at hand: element values, and what each nucleus costs the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import BenchFileError, MeasurementError
from coilbench.base.events import Event
from coilbench.base.nuclei import nucleus
from coilbench.base.units import engineering
from coilbench.base.verdict import judge, overall
from coilbench.outcome import Outcome
from coilbench.report.design_figures import trade_off_figure
from coilbench.report.page import Page, Rows, Section, render
from coilbench.session import run_folder, software, stop_signals, write_atomically
from coils.circuit.coil import PartQuality, single_loop
from coils.circuit.design import Request, design_dual_tuned
from coils.circuit.geometry import loops_from_matrices
from coils.circuit.trade_off import trade_off
from coils.magnetics.conductors import RoundWire
from coils.magnetics.loops import circle, rectangle
from coils.magnetics.matrices import array_matrices
from coils.magnetics.samples import HalfSpace

if TYPE_CHECKING:
    from pathlib import Path

    from coilbench.base.events import EventSink
    from coils.circuit.coil import Loops
    from coils.circuit.design import Design
    from coils.circuit.trade_off import TradeOff

#: Trap coils of the trade-off curve, H: a few turns on 5 mm.
_TRAP_COILS: Final = tuple(float(value) for value in np.geomspace(30e-9, 400e-9, 25))
#: A port that reflects less is matched on paper.
_MATCHED_DB: Final = -40.0


@dataclass(frozen=True, slots=True)
class DrawnLoop:
    """A loop above a flat, wide sample.

    Parameters
    ----------
    size
        Diameter of a circle, or width and height of a rectangle, m.
    wire
        Diameter of its round wire, m.
    distance
        From the sample's surface to the wire's middle, m.
    conductivity
        Of the sample, S/m.
    permittivity
        Of the sample, relative.
    """

    size: tuple[float, ...]
    wire: float
    distance: float
    conductivity: float
    permittivity: float

    def loops(self, frequencies: tuple[float, float]) -> Loops:
        """Return what it is to a circuit.

        Raises
        ------
        ValueError
            A size makes no sense.
        """
        conductor = RoundWire(0.5 * self.wire)
        shape = (
            circle(0.5 * self.size[0], conductor.wire_radius)
            if len(self.size) == 1
            else rectangle(self.size[0], self.size[1], conductor.wire_radius)
        )
        above = shape.moved((0.0, 0.0, self.distance))
        sample = HalfSpace(self.conductivity, self.permittivity)
        return loops_from_matrices(array_matrices([above], sample, frequencies, conductor=conductor))


@dataclass(frozen=True, slots=True)
class MeasuredLoop:
    """A loop that was built and measured: inductance, and Q with its sample at both nuclei."""

    inductance: float
    q: tuple[float, float]

    def loops(self, frequencies: tuple[float, float]) -> Loops:
        """Return what it is to a circuit.

        Raises
        ------
        ValueError
            Its losses are no sum of copper and sample.
        """
        low, high = (
            2.0 * np.pi * frequency * self.inductance / q
            for frequency, q in zip(frequencies, self.q, strict=True)
        )
        return single_loop(self.inductance, frequencies, (float(low), float(high)))


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be designed.

    Parameters
    ----------
    b0
        T.
    nuclei
        Two names.
    loop
        Drawn or measured.
    capacitors
        A series such as ``"E24"``, or values in F.
    trimmer
        Smallest and largest capacitance of a trimmer, F.
    quality
        Of the parts.
    low_importance
        Weight of the lower nucleus' SNR, 0 to 1.
    """

    b0: float
    nuclei: tuple[str, str]
    loop: DrawnLoop | MeasuredLoop
    capacitors: str | tuple[float, ...]
    trimmer: tuple[float, float]
    quality: PartQuality
    low_importance: float


def design_coil(wish: Wish, runs: Path, watcher: EventSink, /) -> tuple[Outcome, tuple[str, ...]]:
    """Design a dual-tuned loop into a run folder; return the outcome and the list of parts in words.

    Raises
    ------
    BenchFileError
        A wish makes no sense.
    MeasurementError
        No coil can be built from these parts; the reasons are counted.
    """
    names = tuple(sorted(wish.nuclei, key=lambda name: nucleus(name).frequency_ratio_percent))
    with stop_signals(), run_folder(runs, f"design-{'-'.join(names)}", watcher) as folder:
        folder.emit(Event("step", "Design"))
        try:
            low, high = (nucleus(name).larmor_frequency(wish.b0) for name in names)
            loops = wish.loop.loops((low, high))
        except ValueError as error:
            raise BenchFileError(f"the loop: {error}") from None
        request = Request(
            wish.b0,
            (names[0], names[1]),
            loops,
            capacitors=wish.capacitors,
            quality=wish.quality,
            trimmer=wish.trimmer,
            low_importance=wish.low_importance,
        )
        try:
            design = design_dual_tuned(request)
        except ValueError as error:
            raise MeasurementError(str(error)) from None
        folder.emit(Event("step", "Trade-off between the nuclei"))
        try:
            curve = trade_off(loops, (low, high), _TRAP_COILS, quality=wish.quality)
        except ValueError as error:
            raise MeasurementError(str(error)) from None
        folder.emit(Event("step", "Write report and record"))
        judged = tuple(
            judge(f"|S11| on paper at {name}", port.reflection_db, "dB", at_most=_MATCHED_DB)
            for name, port in zip(names, design.ports, strict=True)
        )
        lines = _lines(names, loops, (low, high), design)
        picture = trade_off_figure(curve, (names[0], names[1]), design)
        write_atomically(folder.path / "trade-off.svg", picture)
        outcome = Outcome(folder.path, judged, lines)
        sections = (_parts_section(design, loops), _curve_section(curve, picture))
        facts = (
            ("run", folder.path.name),
            ("field", f"{wish.b0:g} T"),
            *((name, engineering(f, "Hz", digits=6)) for name, f in zip(names, (low, high), strict=True)),
        )
        title = f"Dual-tuned loop for {' and '.join(names)}"
        page = Page(title, facts, overall(judged), judged, lines, sections, "In short")
        write_atomically(outcome.report, render(page))
        folder.finish(
            {
                "run": folder.path.name,
                "kind": "design",
                "verdict": str(overall(judged)),
                "judged": list(judged),
                "truths": list(lines),
                "b0_t": wish.b0,
                "nuclei": list(names),
                "software": software(),
                "report": str(outcome.report),
                "picture": str(folder.path / "trade-off.svg"),
                "loop": _loop_values(loops, (low, high)),
                "design": _values(design),
                "trade_off": {
                    "trap_coil_h": curve.inductances,
                    f"snr_{names[0]}": curve.low,
                    f"snr_{names[1]}": curve.high,
                    "isolation_db": curve.isolation_db,
                },
            }
        )
        return outcome, design.lines()


def _lines(
    names: tuple[str, ...], loops: Loops, frequencies: tuple[float, float], design: Design
) -> tuple[str, ...]:
    """Say what the loop is, and what the design keeps of its SNR."""
    own = float(loops.inductance[0, 0])
    resistance = loops.resistance(np.array(frequencies))[:, 0, 0]
    sample = loops.sample_resistance(np.array(frequencies))[:, 0, 0]
    q = 2.0 * np.pi * np.array(frequencies) * own / resistance
    return (
        f"The loop alone: {engineering(own, 'H')}; "
        + ", ".join(
            f"{name} Q {value:.0f}, {100.0 * part / whole:.0f} % of its losses in the sample"
            for name, value, part, whole in zip(names, q, sample, resistance, strict=True)
        )
        + ".",
        *(
            f"{name}: {port.part_snr:.3f} of the SNR with lossless parts, {port.sample_snr:.3f} of the "
            f"sample's limit; {port.isolation_db:.1f} dB to the other port."
            for name, port in zip(names, design.ports, strict=True)
        ),
    )


def _parts_section(design: Design, loops: Loops) -> Section:
    """Return what to wind, solder and trim."""
    rows = [
        ("loop", engineering(float(loops.inductance[0, 0]), "H"), "as drawn or measured", ""),
        ("Lt", engineering(design.trap_coil, "H"), "wind", "trap's coil"),
        ("C1", engineering(design.trap_series, "F"), "solder", "in series with Lt"),
    ]
    for name, part in design.trimmed.items():
        fixed = engineering(part.fixed, "F") if part.fixed else "none"
        span = f"{engineering(part.low, 'F', 3)} to {engineering(part.high, 'F', 3)}"
        rows.append((name, engineering(part.target, "F"), f"{fixed} fixed", f"trimmer {span}"))
    rows += [
        (
            f"Ldet at {engineering(each.frequency, 'Hz')}",
            engineering(each.inductance, "H"),
            "wind, with a PIN diode",
            f"{each.depth_db:.0f} dB ideally; probes see 30 to 50 dB of it",
        )
        for each in design.detuning
    ]
    turned_down = "; ".join(f"{reason} ({count} times)" for reason, count in design.turned_down.items())
    text = "Trimmers reach the match with all tolerances and loads asked for." + (
        f" Turned down before: {turned_down}." if turned_down else ""
    )
    return Section("Parts", text, (), (Rows(("part", "value", "how", "remark"), tuple(rows)),))


def _curve_section(curve: TradeOff, picture: str) -> Section:
    """Return the trade-off curve, and its numbers."""
    rows = tuple(
        (
            engineering(float(inductance), "H", 3),
            f"{low:.3f}",
            f"{high:.3f}",
            f"{isolation[0]:.1f}",
            f"{isolation[1]:.1f}",
        )
        for inductance, low, high, isolation in zip(
            curve.inductances, curve.low, curve.high, curve.isolation_db, strict=True
        )
    )
    headings = ("Lt", "lower nucleus", "upper nucleus", "isolation there / dB", "and there / dB")
    text = "SNR over that of the same loop with lossless parts, each point matched with all losses."
    return Section(
        "What each nucleus costs the other",
        text,
        (("SNR of both nuclei over the trap's coil", picture),),
        (Rows(headings, rows),),
    )


def _loop_values(loops: Loops, frequencies: tuple[float, float]) -> dict[str, Any]:
    axis = np.array(frequencies)
    return {
        "inductance_h": float(loops.inductance[0, 0]),
        "frequencies_hz": list(frequencies),
        "resistance_ohm": loops.resistance(axis)[:, 0, 0],
        "sample_resistance_ohm": loops.sample_resistance(axis)[:, 0, 0],
    }


def _values(design: Design) -> dict[str, Any]:
    """Return the design as plain values with units in their names."""
    return {
        "trap_coil_h": design.trap_coil,
        "trap_series_f": design.trap_series,
        "trimmed": {
            name: {
                "target_f": part.target,
                "fixed_f": part.fixed,
                "trimmer_low_f": part.low,
                "trimmer_high_f": part.high,
            }
            for name, part in design.trimmed.items()
        },
        "detuning": list(design.detuning),
        "ports": list(design.ports),
        "turned_down": dict(design.turned_down),
    }
