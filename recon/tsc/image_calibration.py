"""Concentrations from the readings of one finished image: a line through the references, and its budget.

The mean of each vial's core, corrected for relaxation, stands on a line over the references' concentrations;
the others are read off it. All inputs are drawn together (JCGM 101:2008): vials of one material share its T1
and T2*, all share the flip angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from coilbench.base.errors import MeasurementError
from recon.tsc.budget import COVERAGE_FACTOR
from recon.tsc.regression import fit_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from recon.phantom import Phantom
    from recon.tsc.image_reading import CoreReading
    from recon.tsc.protocol import Protocol
    from recon.tsc.regression import Line

#: Draws for the uncertainties: known to 1 %.
_DRAWS: Final = 5000
#: Relative weight scale of a reference on the line, of the largest concentration: water has one too.
_LEAST: Final = 0.05


@dataclass(frozen=True, slots=True)
class ImageEstimate:
    """The concentration of one vial, read off a finished image.

    Parameters
    ----------
    name
        Of the vial.
    concentration, uncertainty
        In mmol/L; the uncertainty is standard.
    contributions
        (cause, standard uncertainty in mmol/L), largest first.
    reference
        The stated concentration of a reference in mmol/L, None for an unknown one.
    """

    name: str
    concentration: float
    uncertainty: float
    contributions: tuple[tuple[str, float], ...]
    reference: float | None

    @property
    def expanded_uncertainty(self) -> float:
        """Half width of the symmetric 95 % interval in mmol/L."""
        return COVERAGE_FACTOR * self.uncertainty


@dataclass(frozen=True, slots=True, eq=False)
class ImageQuantification:
    """Concentrations from a finished image.

    Parameters
    ----------
    vials
        In the phantom's order.
    line
        Relaxation-corrected signal over concentration, through the references.
    readings
        Of the cores.
    unevenness
        Relative standard deviation of core-sized means in the bath beyond their noise and the surface.
    weights
        Signal per spin of the bath and each vial at the echo time, shape (1 + vial,).
    """

    vials: tuple[ImageEstimate, ...]
    line: Line
    readings: tuple[CoreReading, ...]
    unevenness: float
    weights: NDArray[np.float64]

    def concentration_map(self, image: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return an even image (``PhantomImage.even``) in mmol/L, same shape; relaxation is the bath's."""
        corrected = np.asarray(image, dtype=np.float64) / self.weights[0]
        return np.asarray((corrected - self.line.intercept) / self.line.slope, dtype=np.float32)


def quantify_image(
    phantom: Phantom,
    readings: tuple[CoreReading, ...],
    unevenness: float,
    protocol: Protocol,
    echo_time: float,
    *,
    draws: int = _DRAWS,
    seed: int = 0,
) -> ImageQuantification:
    """Return every vial's concentration with its budget, by Monte Carlo over all inputs (JCGM 101:2008).

    Parameters
    ----------
    phantom
        Vials, materials, tolerances; at least two references.
    readings
        Of its vials, in their order.
    unevenness
        Relative standard uncertainty of each reading from fields that are not known.
    protocol
        Repetition time and flip angle.
    echo_time
        In s.
    draws, seed
        Of the inputs.

    Raises
    ------
    MeasurementError
        Fewer than two references, or their signal does not rise with concentration.
    """
    references = np.array([vial.is_reference for vial in phantom.vials])
    if references.sum() < 2:
        raise MeasurementError(f"a calibration needs two reference vials, the phantom has {references.sum()}")
    random = np.random.default_rng(seed)
    model = _Model(phantom, readings, unevenness, protocol, echo_time, references)
    nominal = model.concentrations(model.inputs(random, 1, ()))
    spread = {
        cause: model.concentrations(model.inputs(random, draws, (cause,))).std(axis=0)
        for cause in model.causes
    }
    together = model.concentrations(model.inputs(random, draws, model.causes)).std(axis=0)
    stated = model.stated[references]
    noisy = model.corrected(model.inputs(random, draws, model.causes))[:, references]
    line = fit_line(
        stated, model.corrected(model.inputs(random, 1, ()))[0, references], np.cov(noisy.T),
        through_origin=not model.has_intercept,
    )  # fmt: skip
    if not line.slope > 2 * line.slope_uncertainty:
        raise MeasurementError(
            f"the references' signal does not rise with their concentration (slope {line.slope:.3g} ± "
            f"{2 * line.slope_uncertainty:.2g} per mmol/L): does the phantom lie as it is described?"
        )
    estimates = tuple(
        ImageEstimate(
            vial.name,
            float(nominal[0, index]),
            float(together[index]),
            tuple(
                sorted(
                    ((cause, float(parts[index])) for cause, parts in spread.items()),
                    key=lambda part: -part[1],
                )
            ),
            vial.concentration,
        )
        for index, vial in enumerate(phantom.vials)
    )
    return ImageQuantification(estimates, line, readings, unevenness, model.weights)


class _Model:
    """Concentrations as a function of readings, references, relaxation and flip angle, for many draws."""

    causes = ("noise", "unevenness", "position", "walls", "references", "T1", "T2*", "flip angle")

    def __init__(
        self,
        phantom: Phantom,
        readings: tuple[CoreReading, ...],
        unevenness: float,
        protocol: Protocol,
        echo_time: float,
        references: NDArray[np.bool_],
    ) -> None:
        self._phantom, self._protocol, self._te = phantom, protocol, echo_time
        self._references, self._unevenness = references, unevenness
        self._means = np.array([one.mean for one in readings])
        self._spreads = {
            cause: np.array([getattr(one, cause) for one in readings])
            for cause in ("noise", "position", "walls")
        }
        self.stated = np.array([vial.concentration or np.nan for vial in phantom.vials])
        # two references determine a line through the noise floor no better than one through the origin
        self.has_intercept = int(references.sum()) > 2
        least = _LEAST * float(np.nanmax(self.stated))
        self._line_weights = 1 / np.maximum(self.stated[references], least)
        one = self.inputs(np.random.default_rng(0), 1, ())
        self.weights = np.array([self._weight(index, one)[0] for index in range(-1, len(phantom.vials))])

    def inputs(
        self, random: np.random.Generator, draws: int, causes: tuple[str, ...]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Draw the inputs of some causes; the others have their nominal values."""
        vials, materials = len(self._phantom.vials), self._phantom.materials
        readings = np.tile(self._means, (draws, 1))
        for cause, spreads in self._spreads.items():
            if cause in causes:
                readings = readings + spreads * random.standard_normal((draws, vials))
        if "unevenness" in causes:
            readings = readings * (1 + self._unevenness * random.standard_normal((draws, vials)))
        stated = np.tile(self.stated, (draws, 1))
        if "references" in causes:
            tolerance = np.array([vial.concentration_tolerance.standard for vial in self._phantom.vials])
            stated = stated * (1 + tolerance * random.standard_normal((draws, vials)))
        scales = {}
        for cause, tolerances in (
            ("T1", [material.t1_tolerance.standard for material in materials]),
            ("T2*", [material.t2_star_tolerance.standard for material in materials]),
        ):
            factor = np.ones((draws, len(materials)))
            if cause in causes:
                factor = np.exp(np.array(tolerances) * random.standard_normal(factor.shape))
            scales[cause] = factor
        flip = np.ones(draws)
        if "flip angle" in causes:
            flip = flip + self._protocol.flip_angle_uncertainty * random.standard_normal(draws)
        return {"readings": readings, "stated": stated, "flip": flip, **scales}

    def corrected(self, inputs: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return readings over the signal per spin, shape (draw, vial)."""
        weights = [self._weight(index, inputs) for index in range(len(self._phantom.vials))]
        return np.asarray(inputs["readings"] / np.stack(weights, axis=1), dtype=np.float64)

    def concentrations(self, inputs: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return what is read off each draw's own line, shape (draw, vial)."""
        signal = self.corrected(inputs)
        y, c, w = signal[:, self._references], inputs["stated"][:, self._references], self._line_weights**2
        if not self.has_intercept:
            slope = np.sum(w * c * y, axis=1) / np.sum(w * c * c, axis=1)
            return np.asarray(signal / slope[:, None], dtype=np.float64)
        mean_c, mean_y = (np.sum(w * one, axis=1, keepdims=True) / np.sum(w) for one in (c, y))
        slope = np.sum(w * (c - mean_c) * (y - mean_y), axis=1) / np.sum(w * (c - mean_c) ** 2, axis=1)
        return np.asarray(mean_c + (signal - mean_y) / slope[:, None], dtype=np.float64)

    def _weight(self, index: int, inputs: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the signal per spin of a vial, or of the bath for -1, shape (draw,)."""
        phantom = self._phantom
        material = phantom.background if index < 0 else phantom.vials[index].material
        number = [one.name for one in phantom.materials].index(material.name)
        relaxation = material.relaxation
        ready = relaxation.steady_state(
            self._protocol.repetition_time,
            self._protocol.flip_angle * inputs["flip"],
            scale=inputs["T1"][:, number],
        )
        return np.asarray(
            ready * relaxation.decay(self._te, scale=inputs["T2*"][:, number]), dtype=np.float64
        )
