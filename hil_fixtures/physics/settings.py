"""What of the world can be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from hil_fixtures.physics.phantom import DEFAULT_PHANTOM, Phantom
from hil_fixtures.physics.workmanship import CAREFUL, Workmanship


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """The choices that make a world; everything else follows from them and the seed.

    Parameters
    ----------
    b0
        Field in T; the frequencies follow from it.
    channels
        Loops, each with a 23Na and a 1H port.
    low_nucleus, high_nucleus
        The two nuclei; the scan receives the first.
    phantom
        What is in the array; its radius is the load's.
    load_conductivity, load_permittivity
        The phantom as the coils feel it, a homogeneous sphere: S/m, relative.
    temperature
        Of coils, phantom and terminations, K.
    noise_figure_db
        Of every receive preamplifier, against 290 K.
    preamp_gain_db
        Voltage gain of every preamplifier, 50 ohm to 50 ohm.
    off_resonance
        What the object's frequency is above gamma_bar * b0, Hz.
    workmanship
        How well the array is built: the spreads of all that the seed draws.
    """

    b0: float = 3.0
    channels: int = 8
    low_nucleus: str = "23Na"
    high_nucleus: str = "1H"
    phantom: Phantom = DEFAULT_PHANTOM
    load_conductivity: float = 0.6
    load_permittivity: float = 78.0
    temperature: float = 293.15
    noise_figure_db: float = 0.7
    preamp_gain_db: float = 40.0
    off_resonance: float = 0.0
    workmanship: Workmanship = CAREFUL
