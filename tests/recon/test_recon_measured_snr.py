"""SNR of scans that other people measured at 3 T and 7 T, to the numbers that their programs print."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import scipy.signal

from recon.dataset import Dataset
from recon.foreign import reconstruct_dataset
from recon.grid import Grid
from recon.noise import apply_channels, noise_model
from recon.snr import snr_of_background, snr_of_noise_scan

#: Of the GE receive filter, as CoilQA_13C's ``QA_13C_coils_2020.m`` states it for this scan.
GE_BANDWIDTH_RATIO = 0.845
#: J of ethylene glycol in Hz and half the band in ppm, both in ``SNReval_carbon13coils.m``.
COUPLING, HALF_BAND = 142.0, 10.0


def space(samples: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return unitary transforms of single-channel Cartesian k-spaces, (any, z, y, x)."""
    dataset = Dataset("measured", samples.reshape(-1, *shape), None, Grid(shape, (1.0, 1.0, 1.0)), 1.0)
    return reconstruct_dataset(dataset).channel_images


@pytest.fixture(scope="module")
def glycol(shared_data):
    """Spectroscopic image of ethylene glycol by a 13C birdcage, 32.13 MHz, with its noise scan."""
    stored = scipy.io.loadmat(shared_data / "coil_13c" / "coil2_sam.mat")
    values = {name: float(stored[name].item()) for name in ("sw_signal", "txfrq", "te")}
    return stored["d"], stored["noise"].T.astype(np.complex64), values


@pytest.fixture(scope="module")
def decays(glycol):
    """Return whitened decays of all voxels, (time, y, x), in the band of the line; and its noise gain."""
    signal, noise, values = glycol
    dwell = 1 / values["sw_signal"]
    model = replace(noise_model(noise, dwell), bandwidth_ratio=np.array([GE_BANDWIDTH_RATIO]))
    white = apply_channels(model.whitening(dwell), signal.reshape(1, -1).astype(np.complex64))
    images = space(white, (1, 24, 24))[:, 0]
    spectra = np.fft.fft(images, axis=0, norm="ortho")
    offset = np.fft.fftfreq(len(spectra), dwell) / values["txfrq"]
    band = np.abs(offset) < HALF_BAND
    filtered = np.fft.ifft(spectra * band[:, None, None], axis=0, norm="ortho")
    return filtered.astype(np.complex64), spectra, float(np.sqrt(band.mean()))


def echo(decay: np.ndarray, dwell: float, echo_time: float) -> tuple[int, float]:
    """Return the sample where the coupled lines first meet, and J in Hz from the distance of the echoes."""
    spacing = round(0.75 * (1 / COUPLING - echo_time) / dwell)
    peaks, _ = scipy.signal.find_peaks(decay, height=0.5 * decay.max(), distance=spacing)
    period = float(np.mean(np.diff(peaks[:10]))) * dwell
    return round((period - echo_time) / dwell), 1 / period


def test_13c_coil_has_the_published_snr(glycol, decays):
    """What CoilQA_13C prints for this coil (NBW 0.845): largest SNR 55.6, mean of the middle 4 x 4 46.0.

    Its convention is ours: Kellman and McVeigh, standard deviation of the real part, noise density of the
    passband. The signal is one sample of the decay, the first at which the lines split by J coincide, in a
    band of ±10 ppm; the filter's noise gain is divided out, as it is there. That is not the peak of the
    spectrum, which is 111.1 here and twice as large by accident: in other voxels the two differ by factors
    from 0.4 to 2.7, as the lines' width and the field's unevenness have it.
    """
    _, _, values = glycol
    filtered, spectra, gain = decays
    strongest = np.unravel_index(np.argmax(np.max(np.abs(filtered), axis=0)), filtered.shape[1:])
    sample, coupling = echo(np.abs(filtered[:, *strongest]), 1 / values["sw_signal"], values["te"])
    snr = snr_of_noise_scan(filtered[sample][None, None], gain, None).values[0]
    assert coupling == pytest.approx(141.8, abs=0.05)
    assert snr.max() == pytest.approx(55.6, abs=0.05)
    assert snr[10:14, 10:14].mean() == pytest.approx(46.0, abs=0.05)
    ratio = np.max(np.abs(spectra), axis=0) / np.where(snr > 20, snr, np.inf)
    assert ratio[strongest] == pytest.approx(2.0, abs=0.01)
    assert ratio[snr > 20].min() < 0.5
    assert ratio.max() > 2.5


def test_13c_receive_filter_is_found_from_the_noise_scan_alone(glycol):
    """1024 samples know the bandwidth ratio to 2.4 %: the stated 0.845 lies within two of that."""
    _, noise, values = glycol
    model = noise_model(noise, 1 / values["sw_signal"])
    assert model.bandwidth_uncertainty == pytest.approx(0.024, abs=0.001)
    assert abs(model.bandwidth_ratio[0] - GE_BANDWIDTH_RATIO) < 2 * model.bandwidth_uncertainty
    assert model.has_enough_samples
    # the filter's skirts correlate neighbours; 0.12 to 0.18 in this program's coils
    neighbours = np.vdot(noise[0, :-1], noise[0, 1:]) / np.vdot(noise, noise)
    assert 0.12 < neighbours.real < 0.18
    assert abs(neighbours.imag) < 2 / np.sqrt(1024)


def test_13c_decay_ends_in_the_noise_of_the_noise_scan(glycol):
    """The last 124 samples of all 576 decays have its power, which 1024 samples know to 3 %.

    Its authors' scans show 0.97 to 1.02. It is the noise of the whole band, filter skirts included, so no
    bandwidth ratio comes in.
    """
    signal, noise, _ = glycol
    ratio = np.mean(np.abs(signal[900:]) ** 2) / np.mean(np.abs(noise) ** 2)
    assert ratio == pytest.approx(1.0, abs=2 / np.sqrt(1024))
    assert 0.97 < ratio < 1.02


def test_sodium_at_7_t_has_the_published_noise_and_snr(shared_data):
    """A half echo of a phantom, 48 of its 100 readout lines zero: noise 1.58e-7, SNR 118 at the peak, 14.1.

    The noise is the real deviation where y and x begin, outside the phantom; the last number is that of the
    99th percentile. In our units the transform is unitary, so the zeros take sqrt(0.52) off the noise of
    white samples: it is measured, not assumed.
    """
    stored = scipy.io.loadmat(shared_data / "sodium_7t" / "rawdata_DHE_forw.mat")["rawdata_DHE_forw"]
    lines = np.any(stored != 0, axis=(1, 2))
    assert np.count_nonzero(~lines) == 48
    image = space(stored, stored.shape)[0]
    air = np.zeros(image.shape, np.bool_)
    air[:, :5, :5] = True
    sigma = float(np.std(image[air].real))
    assert sigma == pytest.approx(1.58e-7, abs=0.005e-7)
    magnitude = np.abs(image)
    assert magnitude.max() / sigma == pytest.approx(118, abs=0.5)
    assert np.percentile(magnitude, 99) / sigma == pytest.approx(14.1, abs=0.05)
    # Both quadratures together, 52 of 100 voxels along z independent, as our background method has it.
    peak = magnitude == magnitude.max()
    found = snr_of_background(magnitude, peak, air, independent_fraction=0.52)
    assert abs(found.value - magnitude.max() / sigma) < 2 * found.uncertainty
    assert found.uncertainty / found.value == pytest.approx(1 / np.sqrt(2 * 2 * 0.52 * 2500), rel=0.2)
