"""What of a run is charted, exported and compared with last year's: a flat list, names never change.

Signal and noise stand apart: a phantom put down elsewhere moves the signal, a sick receiver the noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

from coilbench.quantities import Quantity, finite, quantities_of_judged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from coilbench.base.verdict import Judged
    from coilbench.procedures.quantify import Quantified
    from coilbench.run_report import Measured
    from coilbench.ultimate_snr import UltimateShare
    from recon.noise import NoiseModel

#: Version of each algorithm; raised when the same data would give another number.
ALGORITHMS: Final = {
    "limits of the bench file": "1",
    "noise pre-scan": "1",
    "SNR units, whitened Roemer": "2",
    "share of the ultimate SNR at the centre of a ball": "1",
    "sodium by reference vials": "2",
}
#: The judged quantity that is an SNR, as ``phantom_run.judge_run`` names it.
_BACKGROUND: Final = "SNR of the background, median"
#: Of 10 log10(power): 10 / ln(10).
_DECIBEL: Final = 4.342944819


class _Source(TypedDict):
    """What computed a quantity."""

    algorithm: str
    version: str


def quantities_of_run(measured: Measured, judged: Sequence[Judged], /) -> tuple[Quantity, ...]:
    """Return every quantity of a run: what was judged, then noise, signal and sodium by channel and vial."""
    quality = measured.quality
    own = [one for one in judged if one not in quality.judged]  # those have an algorithm of their own
    snr = [one for one in own if one.name == _BACKGROUND]
    others = [one for one in own if one.name != _BACKGROUND]
    return (
        *quantities_of_judged(others, **_by("limits of the bench file")),
        *quantities_of_judged(snr, **_by("SNR units, whitened Roemer")),
        *_noise(measured.scanned.noise),
        *_signal(measured.quantified, measured.scanned.noise),
        *_share(measured.ultimate),
        *_sodium(measured.quantified),
        *quality.quantities,
    )


def _noise(noise: NoiseModel) -> list[Quantity]:
    by = _by("noise pre-scan")
    spread = _DECIBEL * noise.variance_uncertainty
    found = [
        Quantity("noise level", value, "dB(V)", spread, place=_channel(number), **by)
        for number, value in enumerate(20 * np.log10(noise.sigma))
    ]
    found.append(Quantity("noise bandwidth ratio, mean", noise.mean_bandwidth_ratio, **by))
    found.append(
        Quantity("noise correlation, mean", noise.mean_correlation, "", noise.correlation_floor, **by)
    )
    for name, values in (("kurtosis", noise.kurtosis), ("I/Q variance ratio", noise.quadrature_ratio)):
        found += _channels(f"noise {name}", values, by)
    return found


def _signal(quantified: Quantified, noise: NoiseModel) -> list[Quantity]:
    by = _by("SNR units, whitened Roemer")
    values = np.array([snr.value for snr in quantified.channel_snr])
    spread = np.array([snr.uncertainty for snr in quantified.channel_snr])
    heard = values > 0
    level = 20 * np.log10(np.where(heard, values, np.nan) * noise.sigma)
    # of 20 log10(SNR); the noise scan's error is common to SNR and sigma, and small beside this
    decibel = 2 * _DECIBEL * spread / np.where(heard, values, np.nan)
    found = _channels("SNR of the background, channel alone", values, by, spread=spread)
    return found + _channels(
        "signal of the background, channel alone", level, by, unit="dB(V)", spread=decibel
    )


def _share(ultimate: UltimateShare | None) -> list[Quantity]:
    if ultimate is None:
        return []
    by = _by("share of the ultimate SNR at the centre of a ball")
    centre = ultimate.measured
    return [
        Quantity("SNR of the centre", centre.value, "", centre.uncertainty, **by),
        Quantity("share of the ultimate SNR at the centre", ultimate.share, "", ultimate.uncertainty, **by),
    ]


def _sodium(quantified: Quantified) -> list[Quantity]:
    by = _by("sodium by reference vials")
    tsc = quantified.tsc
    found = [
        Quantity(
            "sodium concentration",
            vial.concentration,
            "mmol/L",
            vial.uncertainty,
            coverage_factor=1.96,
            place=vial.name,
            **by,
        )
        for vial in tsc.vials
    ]
    line = tsc.regression
    found += [
        Quantity("sodium slope", line.slope, "L/mmol", line.slope_uncertainty, **by),
        Quantity("sodium intercept", line.intercept, "", line.intercept_uncertainty, **by),
        Quantity("sodium lack of fit, probability", finite(line.lack_of_fit_probability), **by),
        Quantity(
            "sodium of the background", tsc.background, "mmol/L", tsc.background_uncertainty.linear, **by
        ),
    ]
    return found


def _channels(
    name: str,
    values: NDArray[np.float64],
    by: _Source,
    *,
    unit: str = "",
    spread: NDArray[np.float64] | None = None,
) -> list[Quantity]:
    return [
        Quantity(
            name,
            finite(float(value)),
            unit,
            None if spread is None else finite(float(spread[number])),
            place=_channel(number),
            **by,
        )
        for number, value in enumerate(values)
    ]


def _channel(number: int) -> str:
    return f"channel {number + 1}"


def _by(algorithm: str) -> _Source:
    return {"algorithm": algorithm, "version": ALGORITHMS[algorithm]}
