"""What the other nucleus's ports do to this one's receive channels: two scans, two states of those ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.fingerprint import ArrayFingerprint


@dataclass(frozen=True, slots=True, eq=False)
class PortEffect:
    """Change from one state of the other nucleus's ports to another, shape (channel,) each.

    Parameters
    ----------
    noise_db, signal_db
        Of noise and signal; nan for a channel that shows none in either state.
    uncertainty_db
        Standard uncertainty of ``snr_db`` from noise.
    """

    noise_db: NDArray[np.float64]
    signal_db: NDArray[np.float64]
    uncertainty_db: NDArray[np.float64]

    @property
    def snr_db(self) -> NDArray[np.float64]:
        """Change of the SNR in dB, shape (channel,); negative where the second state is worse."""
        return self.signal_db - self.noise_db


def port_effect(first: ArrayFingerprint, second: ArrayFingerprint) -> PortEffect:
    """Return what a change of the other nucleus's ports did, say from terminated to detuned.

    Parameters
    ----------
    first, second
        Fingerprints of the same phantom, not moved in between, on the same regions.

    Raises
    ------
    ValueError
        They differ in channels or regions.
    """
    if first.signal.shape != second.signal.shape:
        raise ValueError(
            f"fingerprints of {first.signal.shape} and {second.signal.shape} (channel, region) differ"
        )
    levels, spreads = [], []
    for one in (first, second):
        power = np.mean(np.abs(one.signal) ** 2, axis=1)
        seen = np.where(power > 0, power, np.nan)
        levels.append(10 * np.log10(seen))
        # amplitude of k regions: sqrt(sum |s|² u²) / sum |s|²; 8.69 dB per unit of relative change
        along = np.sum(np.abs(one.signal) ** 2 * one.signal_uncertainty**2, axis=1)
        spreads.append(8.686 * np.sqrt(along) / (seen * one.signal.shape[1]))
        spreads.append(np.full(one.channels, one.noise_level_uncertainty_db))
    noise = np.where(
        np.isfinite(first.noise_level_db) & np.isfinite(second.noise_level_db),
        np.nan_to_num(second.noise_level_db, neginf=0.0) - np.nan_to_num(first.noise_level_db, neginf=0.0),
        np.nan,
    )
    return PortEffect(noise, levels[1] - levels[0], np.sqrt(np.sum(np.square(spreads), axis=0)))
