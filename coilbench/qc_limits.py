"""Limits of the morning's quality control: what is a warning, what fails; one versioned set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """How far a coil may be from its baseline, each quantity with a warning before its limit.

    The defaults are the practice that TG-284 and vendors' service manuals leave to each site; judged with the
    expanded uncertainty.

    Parameters
    ----------
    name
        Of the set; kept with every verdict, so raise it when a number changes.
    noise_warn_db, noise_fail_db
        Change of a channel's noise level, dB.
    snr_warn, snr_fail
        Relative change of a channel's SNR.
    uniformity_warn, uniformity_fail
        Change of the noise-corrected uniformity in points of percent.
    diameter_warn, diameter_fail
        Change of a diameter, m: ACR allows 2 mm of 190.
    resolution_warn, resolution_fail
        Width of the point spread over the promised one.
    streaks_warn, streaks_fail
        Background over noise, less 1, beyond the baseline's.
    """

    name: str = "default 1"
    noise_warn_db: float = 0.5
    noise_fail_db: float = 1.0
    snr_warn: float = 0.1
    snr_fail: float = 0.2
    uniformity_warn: float = 2.0
    uniformity_fail: float = 3.0
    diameter_warn: float = 1e-3
    diameter_fail: float = 2e-3
    resolution_warn: float = 1.1
    resolution_fail: float = 1.2
    streaks_warn: float = 0.1
    streaks_fail: float = 0.2

    def __post_init__(self) -> None:
        pairs = (
            ("noise", self.noise_warn_db, self.noise_fail_db),
            ("SNR", self.snr_warn, self.snr_fail),
            ("uniformity", self.uniformity_warn, self.uniformity_fail),
            ("diameter", self.diameter_warn, self.diameter_fail),
            ("resolution", self.resolution_warn, self.resolution_fail),
            ("streaks", self.streaks_warn, self.streaks_fail),
        )
        for what, warn, fail in pairs:
            if not 0 < warn <= fail:
                raise ValueError(f"{what}: a warning comes before its limit, got {warn} and {fail}")
