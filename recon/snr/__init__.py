"""Signal-to-noise ratio, measured six ways on one scale.

SNR = |signal| / sigma, sigma the standard deviation of the real part of the noise (which is that of a
magnitude image at high SNR). Every number is an ``Snr`` and every map an ``SnrMap``: both carry standard
uncertainty, degrees of freedom, method, what it is biased by, and that convention, so that no root of two
gets lost between methods.
"""

from recon.snr.background import (
    accepted_correlation,
    background_factors,
    correlation_bias,
    snr_of_background,
)
from recon.snr.difference import snr_of_difference, snr_of_difference_per_region
from recon.snr.noise_scan import channel_snr, channel_snr_map, snr_of_noise_scan, unwhitening
from recon.snr.record import (
    CONVENTION,
    Convention,
    Snr,
    SnrMap,
    inverse_deviation_correction,
    median_deviation_correction,
)
from recon.snr.replicas import pseudo_replica_noise, snr_of_pseudo_replicas, snr_of_replicas
from recon.snr.smoothing import snr_of_smoothing, snr_of_smoothing_as_hazen

__all__ = [
    "CONVENTION",
    "Convention",
    "Snr",
    "SnrMap",
    "accepted_correlation",
    "background_factors",
    "channel_snr",
    "channel_snr_map",
    "correlation_bias",
    "inverse_deviation_correction",
    "median_deviation_correction",
    "pseudo_replica_noise",
    "snr_of_background",
    "snr_of_difference",
    "snr_of_difference_per_region",
    "snr_of_noise_scan",
    "snr_of_pseudo_replicas",
    "snr_of_replicas",
    "snr_of_smoothing",
    "snr_of_smoothing_as_hazen",
    "unwhitening",
]
