"""Receive sensitivities of the channels, by five ways that agree where they overlap.

``fit_harmonics``: from a phantom whose bath is known; quantitative, with a linear uncertainty.
``fit_predicted``: the field of the coils as drawn, fitted to a phantom by few numbers.
``low_resolution_sensitivities``, ``walsh_sensitivities``, ``espirit_sensitivities``: from the images of an
unknown object. Only ratios between channels mean anything there; the sum of squares is 1. The first is the
fastest and for smooth objects as good as any; the second weighs each place by its surroundings, so that
edges and strong neighbours disturb less; the third asks k-space and knows where there is no object.

``FromImages``, ``FromDrawing`` and ``FromPhantom`` hand them to a reconstruction (``recon.recipe``).
"""

from recon.sensitivities.espirit import espirit_sensitivities
from recon.sensitivities.harmonic import HarmonicFit, fit_harmonics, solid_harmonics
from recon.sensitivities.low_resolution import low_resolution_sensitivities
from recon.sensitivities.predicted import PredictedFit, fit_predicted
from recon.sensitivities.source import (
    IMAGE_METHODS,
    FromDrawing,
    FromImages,
    FromPhantom,
    GriddedChannels,
    ImageMethod,
    SensitivitySource,
)
from recon.sensitivities.walsh import walsh_sensitivities

__all__ = [
    "IMAGE_METHODS",
    "FromDrawing",
    "FromImages",
    "FromPhantom",
    "GriddedChannels",
    "HarmonicFit",
    "ImageMethod",
    "PredictedFit",
    "SensitivitySource",
    "espirit_sensitivities",
    "fit_harmonics",
    "fit_predicted",
    "low_resolution_sensitivities",
    "solid_harmonics",
    "walsh_sensitivities",
]
