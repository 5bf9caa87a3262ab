"""Tissue sodium concentration: from channel images of a phantom to concentrations with uncertainties.

``quantify`` is the way through; the modules beside it are its steps and may be used alone.
"""

from recon.tsc.protocol import Protocol
from recon.tsc.quantification import NOT_MEASURED, TscResult, quantify

__all__ = ["NOT_MEASURED", "Protocol", "TscResult", "quantify"]
