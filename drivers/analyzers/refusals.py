"""What no analyzer driver sends, whoever asks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from coilbench.base.errors import LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.protocols import Segment


def require_power(instrument: str, power_dbm: float, limit_dbm: float) -> None:
    """Refuse source power above the limit.

    Parameters
    ----------
    instrument
        Name and address, for the error.
    power_dbm, limit_dbm
        NaN is refused too.

    Raises
    ------
    LimitExceeded
        ``power_dbm`` is not at or below ``limit_dbm``.
    """
    if not power_dbm <= limit_dbm:
        raise LimitExceeded(
            instrument,
            f"{power_dbm:g} dBm is above its limit of {limit_dbm:g} dBm; lower the power or, if the coil "
            "stands it, raise power_limit_dbm in the bench file",
        )


def require_rising(segments: Sequence[Segment]) -> None:
    """Refuse a sweep whose segments are missing, fall or overlap.

    Raises
    ------
    ValueError
        The text names the two frequencies.
    """
    if not segments:
        raise ValueError("a sweep needs at least one segment")
    for lower, upper in pairwise(segments):
        if upper.start <= lower.stop:
            raise ValueError(
                f"segments must rise without overlap; {upper.start:g} Hz follows {lower.stop:g} Hz"
            )
