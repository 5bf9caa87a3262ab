"""Noise of the receive chain, from a scan without signal: covariance, spectrum, health, whitening.

Convention: Psi = E[n n^H] with complex noise n, so Psi_ii = 2 sigma_i^2, where sigma is the standard
deviation of the real part. The mean is not subtracted from the covariance (noise has none; if there is
one it is a fault and is reported as such). Whitened data have unit standard deviation of the real part.
"""

from recon.noise.health import NoiseFinding, find_faults
from recon.noise.model import NoiseModel, correlation_uncertainty
from recon.noise.scan import NoiseScan, noise_model
from recon.noise.spectrum import NoiseSpectrum, Spur
from recon.noise.whitening import apply_channels, whitening_matrix

__all__ = [
    "NoiseFinding",
    "NoiseModel",
    "NoiseScan",
    "NoiseSpectrum",
    "Spur",
    "apply_channels",
    "correlation_uncertainty",
    "find_faults",
    "noise_model",
    "whitening_matrix",
]
