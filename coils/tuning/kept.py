"""What a tuning leaves for the next one, as plain values: the belief about an array, for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coils.tuning.belief import Belief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coils.circuit.elements import Real
    from coils.tuning.design import ArrayDesign


def plain_belief(belief: Belief) -> dict[str, Any]:
    """Return a belief as plain values in SI units, without its drawing."""
    return {
        "axes": [list(row) for row in belief.design.axes],
        "frequencies_hz": list(belief.design.frequencies),
        "values_si": {name: value.tolist() for name, value in belief.values.items()},
        "curve_terms": belief.terms.tolist(),
        "delays_s": belief.delays.tolist(),
        "coupling": belief.coupling.tolist(),
        "resistance_coupling": belief.resistance.tolist(),
    }


def belief_from(design: ArrayDesign, plain: Mapping[str, Any]) -> Belief:
    """Return the belief about a drawn array that `plain_belief` gave.

    Raises
    ------
    ValueError
        It is not one, or is about an array of other axes, elements or frequencies.
    """
    drawn = Belief.from_design(design)
    try:
        axes = tuple(tuple(row) for row in plain["axes"])
        if axes != design.axes or set(plain["values_si"]) != set(drawn.values):
            raise ValueError("it is about an array with other axes or other elements")
        if not np.allclose(plain["frequencies_hz"], design.frequencies, rtol=1e-3):
            raise ValueError(
                f"it was tuned to {plain['frequencies_hz']} Hz, this bench is at {design.frequencies} Hz"
            )
        return Belief(
            design,
            {name: _like(plain["values_si"][name], value) for name, value in drawn.values.items()},
            _like(plain["curve_terms"], drawn.terms),
            _like(plain["delays_s"], drawn.delays),
            _like(plain["coupling"], drawn.coupling),
            _like(plain["resistance_coupling"], drawn.resistance),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not the belief of a tuning ({type(error).__name__}: {error})") from error


def _like(plain: object, value: Real) -> Real:
    """Return plain numbers as an array of the same shape."""
    array = np.asarray(plain, dtype=np.float64)
    if array.shape != value.shape or not np.all(np.isfinite(array)):
        raise ValueError(f"expected finite numbers of shape {value.shape}; got shape {array.shape}")
    return array
