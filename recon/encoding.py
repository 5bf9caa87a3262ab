"""The SENSE imaging model: sensitivities times image, transformed to k-space, for all channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recon.off_resonance import OffResonanceNormal, OffResonanceTransform
from recon.toeplitz import ToeplitzNormal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.grid import Grid
    from recon.nufft import NonUniformTransform


class SenseEncoding:
    """A ``LinearOperator`` (``recon.operators``) of channels with known sensitivities.

    Parameters
    ----------
    transform
        Between the image grid and the k-space positions, with a field (``recon.off_resonance``) or without.
    weights
        Volume elements (density weights) in 1/m³, one per position, any shape.
    sensitivities
        Shape (channel, z, y, x), of the whitened channels.
    toeplitz
        Whether the normal operator convolves (several times faster) or goes to k-space and back.

    Raises
    ------
    ValueError
        Sensitivities are not on the transform's grid, or not as many weights as positions are given.

    Notes
    -----
    Pruessmann et al., Magn Reson Med 46:638 (2001).
    """

    def __init__(
        self,
        transform: NonUniformTransform | OffResonanceTransform,
        weights: NDArray[np.floating],
        sensitivities: NDArray[np.complex64],
        *,
        toeplitz: bool = True,
    ) -> None:
        if sensitivities.ndim != 4 or sensitivities.shape[1:] != transform.grid.shape:
            raise ValueError(
                f"sensitivities (channel, {transform.grid.shape}) expected, got {sensitivities.shape}"
            )
        if weights.size != transform.points:
            raise ValueError(f"{transform.points} weights expected, got {weights.size}")
        self.transform = transform
        self.sensitivities = np.asarray(sensitivities, dtype=np.complex64)
        self.weights = np.ascontiguousarray(weights, dtype=np.float32).ravel()
        self._toeplitz = _convolution(transform, self.weights) if toeplitz else None

    @property
    def grid(self) -> Grid:
        """Where the image's voxels are."""
        return self.transform.grid

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.sensitivities)

    def forward(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the samples of an image (z, y, x), shape (channel, point)."""
        return self.transform.forward(self.sensitivities * image)

    def adjoint(self, samples: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the weighted image of samples (channel, ...), shape (z, y, x).

        Raises
        ------
        ValueError
            The samples are of another number of channels.
        """
        if len(samples) != self.channels:
            raise ValueError(f"samples of {self.channels} channels expected, got {len(samples)}")
        image = np.zeros(self.grid.shape, dtype=np.complex64)
        for part in self.transform.batches(self.channels):
            images = self.transform.adjoint(samples[part], self.weights)
            image += np.einsum("czyx,czyx->zyx", self.sensitivities[part].conj(), images)
        return image

    def receive(self, images: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the adjoint of samples that are gridded already, with the same weights; shape (z, y, x).

        Parameters
        ----------
        images
            Shape (channel, z, y, x).

        Raises
        ------
        ValueError
            The images are of another shape than the sensitivities.
        """
        if images.shape != self.sensitivities.shape:
            raise ValueError(
                f"channel images of shape {self.sensitivities.shape} expected, got {images.shape}"
            )
        image = np.zeros(self.grid.shape, dtype=np.complex64)
        for part in self.transform.batches(self.channels):
            image += np.einsum("czyx,czyx->zyx", self.sensitivities[part].conj(), images[part])
        return image

    def normal(self, image: NDArray[np.complex64], /) -> NDArray[np.complex64]:
        """Return the weighted adjoint of the forward of an image, shape (z, y, x)."""
        if self._toeplitz is not None:
            return self._toeplitz.normal(image, self.sensitivities)
        result = np.zeros(self.grid.shape, dtype=np.complex64)
        for part in self.transform.batches(self.channels):
            filtered = self.transform.normal(self.sensitivities[part] * image, self.weights)
            filtered *= self.sensitivities[part].conj()
            result += filtered.sum(axis=0)
        return result

    def intensity(self) -> NDArray[np.float32]:
        """Return sqrt(sum of |S|²), shape (z, y, x): what the channels together receive."""
        power = np.zeros(self.grid.shape, dtype=np.float32)
        for sensitivity in self.sensitivities:
            power += sensitivity.real**2 + sensitivity.imag**2
        return np.sqrt(power)


def _convolution(
    transform: NonUniformTransform | OffResonanceTransform, weights: NDArray[np.float32]
) -> ToeplitzNormal | OffResonanceNormal:
    if isinstance(transform, OffResonanceTransform):
        return OffResonanceNormal(transform, weights)
    return ToeplitzNormal(transform, weights)
