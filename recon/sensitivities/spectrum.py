"""The centre of an image's k-space, and images of any matrix made from it.

A spectrum holds Fourier coefficients over the field of view, the same for every matrix: k = 0 is at
``count // 2`` of each axis, and the image's value is sum S(k) exp(2 pi i k (i - n // 2) / n).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from recon.nufft_backends import available_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def central_spectrum(
    images: NDArray[np.complexfloating[Any, Any]], counts: Sequence[int]
) -> NDArray[np.complex64]:
    """Return the coefficients of the lowest frequencies, complex64, shape (channel, *counts).

    Parameters
    ----------
    images
        Shape (channel, z, y, x).
    counts
        Coefficients along z, y and x, at most the voxels there.

    Raises
    ------
    ValueError
        More coefficients than voxels are asked for.
    """
    shape = images.shape[1:]
    if any(count > voxels for count, voxels in zip(counts, shape, strict=True)):
        raise ValueError(f"images of {shape} voxels hold no {tuple(counts)} coefficients")
    threads = available_threads()
    result = np.empty((len(images), *counts), dtype=np.complex64)
    for image, spectrum in zip(images, result, strict=True):
        part = np.asarray(image, dtype=np.complex64)
        for axis in (2, 1, 0):
            line = np.asarray(scipy.fft.fft(part, axis=axis, norm="forward", workers=threads))
            part = np.take(line, _frequencies(counts[axis]), axis=axis, mode="wrap")
            part *= _turned(counts[axis], shape[axis], axis).conj()
        spectrum[...] = part
    return result


def spectrum_images(spectrum: NDArray[np.complex64], shape: Sequence[int]) -> NDArray[np.complex64]:
    """Return the images of a spectrum on a grid of ``shape``, complex64, shape (channel, *shape).

    Raises
    ------
    ValueError
        The grid has fewer voxels than the spectrum coefficients.
    """
    counts = spectrum.shape[1:]
    if any(count > voxels for count, voxels in zip(counts, shape, strict=True)):
        raise ValueError(f"{counts} coefficients do not fit on a grid of {tuple(shape)} voxels")
    threads = available_threads()
    result = np.empty((len(spectrum), *shape), dtype=np.complex64)
    for coefficients, image in zip(spectrum, result, strict=True):
        part = coefficients
        for axis in (0, 1, 2):
            sides = list(part.shape)
            sides[axis] = shape[axis]
            padded = np.zeros(sides, dtype=np.complex64)
            place: list[Any] = [slice(None)] * 3
            place[axis] = _frequencies(counts[axis]) % shape[axis]
            padded[tuple(place)] = part * _turned(counts[axis], shape[axis], axis)
            part = np.asarray(
                scipy.fft.ifft(padded, axis=axis, norm="forward", overwrite_x=True, workers=threads)
            )
        image[...] = part
    return result


def _frequencies(count: int) -> NDArray[np.intp]:
    """Return the whole frequencies of a spectrum's axis, rising."""
    return np.arange(count) - count // 2


def _turned(count: int, voxels: int, axis: int) -> NDArray[np.complex64]:
    """Return exp(-2 pi i k (n // 2) / n) along ``axis``: voxel n // 2 is the origin."""
    turns = _frequencies(count) * (voxels // 2) / voxels
    phases: NDArray[np.complex64] = np.exp(-2j * np.pi * turns).astype(np.complex64)
    return phases.reshape([-1 if axis == other else 1 for other in range(3)])
