"""What the sample does to a coil: from its Q without and with it to the SNR that its own losses leave.

True when both Q are measured the same way (same coupling, neighbours detuned both times) and the sample
changes nothing but the losses. Then the coil's own resistance is the part Q_L/Q_U of all resistance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from coilbench.base.errors import MeasurementError


@dataclass(frozen=True, slots=True)
class Reading:
    """A number and how well it is known.

    Parameters
    ----------
    value
        In the unit of the field that holds it.
    uncertainty
        Expanded (95 %), same unit; None where nobody knows.
    """

    value: float
    uncertainty: float | None = None

    def __post_init__(self) -> None:
        """Check the uncertainty.

        Raises
        ------
        ValueError
            It is negative or not a number.
        """
        if self.uncertainty is not None and not self.uncertainty >= 0.0:
            raise ValueError(f"an expanded uncertainty cannot be {self.uncertainty}")


@dataclass(frozen=True, slots=True)
class Loading:
    """How much of a coil's noise is the sample's.

    Parameters
    ----------
    q_unloaded, q_loaded
        Q without and with the sample.
    ratio
        Q_U/Q_L.
    snr_share
        sqrt(1 - Q_L/Q_U): SNR over that of the same coil without losses of its own, between 0 and 1.
    noise_figure_db
        -10 log10(1 - Q_L/Q_U): what the coil's own losses add to the sample's noise, dB.
    """

    q_unloaded: Reading
    q_loaded: Reading
    ratio: Reading
    snr_share: Reading
    noise_figure_db: Reading


def coil_loading(q_unloaded: Reading, q_loaded: Reading, /) -> Loading:
    """Return what follows from a coil's Q without and with its sample.

    Parameters
    ----------
    q_unloaded, q_loaded
        Of the same coil measured in the same way. A number without uncertainty is taken as exact.

    Returns
    -------
    With expanded uncertainties: of the ratio by propagation, of share and noise figure the larger half of
    the interval that the ratio's interval becomes, because neither follows the ratio linearly.

    Raises
    ------
    MeasurementError
        The sample's losses are not larger than their uncertainty: no share of SNR can be stated.
    ValueError
        A Q is not positive.

    Notes
    -----
    Kumar, Edelstein and Bottomley, Magn Reson Med 61:1201 (2009).
    """
    if not (0.0 < q_unloaded.value < math.inf and 0.0 < q_loaded.value < math.inf):
        raise ValueError(f"Q must be positive; got {q_unloaded.value} and {q_loaded.value}")
    ratio = q_unloaded.value / q_loaded.value
    spread = ratio * math.hypot(
        (q_unloaded.uncertainty or 0.0) / q_unloaded.value, (q_loaded.uncertainty or 0.0) / q_loaded.value
    )
    if ratio - spread <= 1.0:
        raise MeasurementError(
            f"Q {q_unloaded.value:.1f} without and {q_loaded.value:.1f} with the sample do not differ beyond "
            f"their uncertainty (ratio {ratio:.3f} ± {spread:.3f}): the sample's share of the noise cannot "
            "be stated; bring the coil closer to its load or measure Q more precisely"
        )
    lower, upper = ratio - spread, ratio + spread
    share = _share(ratio)
    figure = _noise_figure_db(ratio)
    return Loading(
        q_unloaded=q_unloaded,
        q_loaded=q_loaded,
        ratio=Reading(ratio, spread),
        snr_share=Reading(share, max(share - _share(lower), _share(upper) - share)),
        noise_figure_db=Reading(
            figure, max(_noise_figure_db(lower) - figure, figure - _noise_figure_db(upper))
        ),
    )


def _share(ratio: float) -> float:
    return math.sqrt(1.0 - 1.0 / ratio)


def _noise_figure_db(ratio: float) -> float:
    return -10.0 * math.log10(1.0 - 1.0 / ratio)
