"""Exact noise of image values that are linear in the data, without replicas.

A region's mean is a linear functional of k-space. Its variance for white samples of unit real standard
deviation is the squared norm of that functional, and the covariance of two functionals their inner
product; both are convolutions with the transform of the squared weights (Toeplitz), two FFTs each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from recon.grid import Grid
from recon.nufft import NonUniformTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recon.live import ChannelImages


class ImageNoise:
    """Covariance of linear functionals of the channel images within a box of voxels.

    Parameters
    ----------
    images
        Whitened channel images with their trajectory and weights.
    support
        Voxels that the functionals may touch, shape (z, y, x); their bounding box is used.
    """

    def __init__(self, images: ChannelImages, support: NDArray[np.bool_]) -> None:
        if not support.any():
            raise ValueError("the support of the functionals is empty")
        box = []
        for axis in range(3):
            used = np.flatnonzero(support.any(axis=tuple(other for other in range(3) if other != axis)))
            box.append(slice(int(used[0]), int(used[-1]) + 1))
        self.box = (box[0], box[1], box[2])
        sizes = [part.stop - part.start for part in self.box]
        self._shape = (2 * sizes[0], 2 * sizes[1], 2 * sizes[2])
        dz, dy, dx = images.grid.spacing
        doubled = Grid(self._shape, (self._shape[0] * dz, self._shape[1] * dy, self._shape[2] * dx))
        transform = NonUniformTransform(doubled, images.positions)
        squares = np.square(images.weights).astype(np.complex64)
        kernel = scipy.fft.ifftshift(transform.adjoint(squares[None])[0])
        self._spectrum: NDArray[np.float32] = np.real(np.asarray(scipy.fft.fftn(kernel)))

    def covariance(self, functionals: NDArray[np.complex64]) -> NDArray[np.float64]:
        """Return the covariance of the real parts of sum over channel and voxel of u a.

        Parameters
        ----------
        functionals
            u, shape (functional, channel, z, y, x) of the box only.

        Returns
        -------
        Shape (functional, functional).
        """
        count, channels = functionals.shape[:2]
        covariance = np.zeros((count, count))
        for channel in range(channels):
            padded = scipy.fft.fftn(functionals[:, channel].conj(), s=self._shape, axes=(1, 2, 3))
            flat = np.asarray(padded).reshape(count, -1)
            covariance += ((flat.conj() * self._spectrum.ravel()) @ flat.T).real
        return covariance / float(np.prod(self._shape))
