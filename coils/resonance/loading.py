"""Loaded and unloaded: how much of the noise is the sample's, and what the coil itself costs.

With the Q of the same coil empty (Q_U) and on its load (Q_L), both without the port's loading, the sample
takes the share η = 1 - Q_L/Q_U of the loss. Coil and sample at one temperature, the SNR is √η of what a
coil without loss would reach, a noise figure of -10 log10 η (A. Kumar, W. A. Edelstein, P. A. Bottomley, Magn
Reson Med 61:1201 (2009)). Not to be confused with loaded and unloaded by the port, Q_L and Q_0 of one trace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coilbench.base.errors import MeasurementError

if TYPE_CHECKING:
    from coils.resonance.model import Resonance

#: Two traces further apart than this part of their frequency are not one resonance before and after.
_LARGEST_SHIFT: Final = 0.1
#: The sample's share must exceed this many of its standard uncertainties (95 %, JCGM 100:2008, G.1.3).
_COVERAGE: Final = 1.96


@dataclass(frozen=True, slots=True)
class Loading:
    """What the load does to a coil; uncertainties are standard ones.

    Parameters
    ----------
    q_unloaded, q_loaded
        Q_U of the empty coil and Q_L on its load, neither loaded by a port.
    ratio, u_ratio
        Q_U / Q_L.
    sample_share, u_sample_share
        η = 1 - Q_L/Q_U: the sample's part of the loss.
    snr_share, u_snr_share
        √η: SNR relative to the same coil without loss of its own.
    noise_figure_db, u_noise_figure_db
        -10 log10 η.
    noise_figure_interval_db
        95 % interval of the noise figure: lopsided where η is small.
    shift
        Resonance on the load minus empty, in Hz.
    """

    q_unloaded: float
    q_loaded: float
    ratio: float
    u_ratio: float
    sample_share: float
    u_sample_share: float
    snr_share: float
    u_snr_share: float
    noise_figure_db: float
    u_noise_figure_db: float
    noise_figure_interval_db: tuple[float, float]
    shift: float


def compare_loading(unloaded: Resonance, loaded: Resonance, *, correlation: float = 0.0) -> Loading:
    """Compare a coil's resonance empty and on its load.

    Parameters
    ----------
    unloaded, loaded
        Fits of the same coil by the same method; their Q_0 count, so matching need not be the same.
    correlation
        Of the relative errors of both Q: 0 for noise, towards 1 for an error both share, such as one
        cable's mismatch.

    Raises
    ------
    MeasurementError
        Q falls by less than its uncertainty, or the resonances cannot be the same one.
    ValueError
        The correlation is not within ±1, or one is a reflection and the other a transmission.
    """
    if unloaded.kind != loaded.kind:
        raise ValueError(f"compare like with like: got a {unloaded.kind} and a {loaded.kind}")
    shift = loaded.frequency - unloaded.frequency
    if abs(shift) > _LARGEST_SHIFT * unloaded.frequency:
        raise MeasurementError(
            f"empty at {unloaded.frequency / 1e6:.3f} MHz, loaded at {loaded.frequency / 1e6:.3f} MHz: a "
            "load does not shift a coil by more than 10 %; look whether both are the same resonance"
        )
    return loading_from_q(
        unloaded.q_unloaded,
        loaded.q_unloaded,
        unloaded.uncertainty.q_unloaded,
        loaded.uncertainty.q_unloaded,
        correlation=correlation,
        shift=shift,
    )


def loading_from_q(
    q_unloaded: float,
    q_loaded: float,
    u_unloaded: float,
    u_loaded: float,
    *,
    correlation: float = 0.0,
    shift: float = 0.0,
) -> Loading:
    """Return what the load does from both Q and their standard uncertainties.

    Parameters
    ----------
    q_unloaded, q_loaded
        Q_U of the empty coil and Q_L on its load.
    u_unloaded, u_loaded
        Standard uncertainties.
    correlation
        Of their relative errors.
    shift
        Of the resonance, in Hz; only handed on.

    Raises
    ------
    MeasurementError
        Q_L is not below Q_U by more than the uncertainty.
    ValueError
        A Q is not positive and finite, an uncertainty negative, or the correlation not within ±1.
    """
    if not (0.0 < q_unloaded < math.inf and 0.0 < q_loaded < math.inf):
        raise ValueError(f"Q must be positive and finite, got {q_unloaded:g} and {q_loaded:g}")
    if not (u_unloaded >= 0.0 and u_loaded >= 0.0 and abs(correlation) <= 1.0):
        raise ValueError("uncertainties must not be negative, and a correlation lies within ±1")
    first, second = u_unloaded / q_unloaded, u_loaded / q_loaded
    # (a - b)² + 2ab(1 - ρ): exact for two equal and fully shared errors, where a² + b² - 2ρab would round
    relative = math.sqrt((first - second) ** 2 + 2.0 * first * second * (1.0 - correlation))
    quotient = q_loaded / q_unloaded
    share, u_share = 1.0 - quotient, quotient * relative
    if not share > _COVERAGE * u_share:
        raise MeasurementError(
            f"Q_U = {q_unloaded:.4g} ± {u_unloaded:.2g} and Q_L = {q_loaded:.4g} ± {u_loaded:.2g}: the "
            "load's loss is not above the uncertainty; bring the phantom closer, check that it "
            "conducts, that both traces were not exchanged, and average more"
        )
    figure = -10.0 * math.log10(share)
    low, high = share - _COVERAGE * u_share, min(share + _COVERAGE * u_share, 1.0)
    return Loading(
        q_unloaded=q_unloaded,
        q_loaded=q_loaded,
        ratio=1.0 / quotient,
        u_ratio=relative / quotient,
        sample_share=share,
        u_sample_share=u_share,
        snr_share=math.sqrt(share),
        u_snr_share=0.5 * u_share / math.sqrt(share),
        noise_figure_db=figure,
        u_noise_figure_db=10.0 / math.log(10.0) * u_share / share,
        noise_figure_interval_db=(-10.0 * math.log10(high) + 0.0, -10.0 * math.log10(low)),
        shift=shift,
    )
