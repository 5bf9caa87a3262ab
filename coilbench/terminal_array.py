"""An array's reflections in the terminal: a Smith chart for each nucleus, a line for each port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from coilbench.base.units import engineering
from coilbench.coil_store import read_visit
from coilbench.terminal_smith import Trace, beside, describe_reflection, draw_smith, shows_braille
from coils.quality.record import as_array

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

#: What stands at the markers of channel 1, 2, ...
LETTERS: Final = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Half width of the drawn traces over the Larmor frequency.
_SPAN: Final = 0.05


def print_smith_charts(console: Console, folder: Path, /) -> None:
    """Print a Smith chart of each nucleus of a run that kept its sweep; nothing of one that did not.

    Raises
    ------
    MeasurementError
        The run's record or sweep cannot be read.
    """
    visit = read_visit(folder)
    network = visit.network()
    if network is None:
        return
    order = sorted(port for group in visit.record.nuclei for port in group.ports)
    for group in visit.record.nuclei:
        if group.scattering is None:
            continue
        near = np.abs(network.f / group.frequency - 1.0) < _SPAN
        own = np.diagonal(as_array(group.scattering))
        words = [f"{group.nucleus}, {engineering(group.frequency, 'Hz', digits=6)}", ""]
        traces = []
        for channel, port in enumerate(group.ports):
            letter = LETTERS[channel % len(LETTERS)]
            place = order.index(port)
            marker = complex(own[channel])
            traces.append(Trace(letter, network.s[near, place, place].tolist(), marker))
            words.append(f"{letter}  {describe_reflection(marker)}")
        console.print(beside(draw_smith(traces, braille=shows_braille(console.encoding)), words))
        console.print()
